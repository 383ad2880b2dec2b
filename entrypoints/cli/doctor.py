"""`muster doctor`: what would keep a run from working, before the night finds it."""

from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from typing import Annotated, Any, Final, NamedTuple

import httpx
import typer

from entrypoints.cli.prefect import reach_prefect, without_login
from entrypoints.cli.speech import run, say, say_json
from muster.errors import ConfigurationError, MusterError
from muster.ledger import Book
from muster.ledger.mending import CALM
from muster.ledger.upstreams import LIMITS
from muster.limits import mode_for
from muster.preflight import BASES, KEYS
from muster.reconcile import look
from muster.report import breaker_line, counted
from muster.settings import Settings, strangers, variable
from muster.states import BreakerState
from muster.upstreams.access import address
from muster.wiring import open_book
from muster.workloads import SHELF
from muster.workloads.articles import Articles

BREAKS_PREFECT: Final = {"fastapi": (0, 151), "sqlalchemy": (2, 1)}  # from these versions on


class Finding(NamedTuple):
    """One thing looked at."""

    what: str
    ok: bool
    said: str


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Look at settings, ledger, keys, upstreams and Prefect; exit code 3 if a run could not work.

    \b
    muster doctor
    muster doctor --json
    """  # noqa: D301, click's own sign for "do not wrap"
    findings = run(_look())
    if as_json:
        say_json({"ok": all(it.ok for it in findings), "findings": [it._asdict() for it in findings]})
    else:
        for it in findings:
            say(f"{'ok ' if it.ok else 'BAD'}  {it.what}: {it.said}")
    if not all(it.ok for it in findings):
        raise typer.Exit(ConfigurationError.exit_code)


async def _look() -> list[Finding]:
    try:
        settings = Settings.read()
    except MusterError as error:
        return [Finding("settings", False, str(error))]
    parts = (_mode, _strangers, _ledger, _upstreams, _packages, _prefect)
    return [it for part in parts async for it in part(settings)]


async def _mode(settings: Settings) -> AsyncIterator[Finding]:
    try:
        yield Finding("mode", True, f"{mode_for(settings)}, {settings.env}, time zone {settings.timezone}")
    except MusterError as error:
        yield Finding("mode", False, str(error))


async def _strangers(_settings: Settings) -> AsyncIterator[Finding]:
    for name, meant in strangers().items():
        yield Finding(name, False, f"there is no such setting{f'; is it {meant}?' if meant else ''}")


async def _ledger(settings: Settings) -> AsyncIterator[Finding]:
    try:
        async with open_book(settings) as book:
            clients = len(await book.clients.all())
            yield Finding("ledger", True, f"{book.database.place}, {clients} clients")
            yield await _batches(book)
            for upstream in await book.upstreams.all():
                yield _limits(upstream)
    except MusterError as error:
        yield Finding("ledger", False, str(error))


async def _batches(book: Book) -> Finding:
    """Nothing here keeps a run from working, so it is never amiss."""
    found, drivers = await look(book), len(await book.drivers.alive())
    amiss = [it for it in found if it.verdict not in CALM]
    said = f"{counted(drivers, 'driver')} pulling; {counted(len(found), 'open batch', 'open batches')}"
    more = f", {len(amiss)} of which nobody works: muster reconcile --dry-run" if amiss else ""
    return Finding("batches", True, said + more)


def _limits(upstream: Mapping[str, Any]) -> Finding:
    """An open breaker is amiss; limits never are."""
    limits = [f"{it.replace('_', ' ')} {upstream[it]:g}" for it in LIMITS if upstream[it] is not None]
    said = f"{', '.join(limits) or 'no limits'}; breaker {breaker_line(upstream)}"
    return Finding(f"limits of {upstream['name']}", upstream["breaker"] != BreakerState.OPEN, said)


async def _upstreams(settings: Settings) -> AsyncIterator[Finding]:
    """A workload's key has to be set; a provider's only where there are prompts to be put to it."""
    needed = {field: name for name, workload in SHELF.items() for field in workload.needs if name != Articles.name}
    prompts = await _active_prompts(settings)
    for upstream, field in KEYS.items():
        is_set = getattr(settings, field) is not None
        is_wanted = field in needed or (upstream in settings.providers and prompts > 0)
        if not is_set and not is_wanted and field in Articles.needs:  # nothing of the night
            yield Finding(upstream, True, f"{variable(field)} is not set; `muster articles` needs it")
        elif is_set or is_wanted:
            yield Finding(upstream, is_set, f"{variable(field)} is {'set' if is_set else 'not set'}")
            yield await _answers(upstream, BASES[upstream], str(getattr(settings, BASES[upstream])))


async def _active_prompts(settings: Settings) -> int:
    try:
        async with open_book(settings) as book:
            return await book.prompts.count_active()
    except MusterError:  # `ledger` says why
        return 0


async def _answers(name: str, field: str, base: str) -> Finding:
    shown = without_login(base)
    try:
        url = address(base, variable(field), str(Settings.model_fields[field].default))
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(url)
    except MusterError as error:
        return Finding(name, False, str(error))
    except httpx.HTTPError as error:
        return Finding(name, False, f"{shown} does not answer ({type(error).__name__})")
    return Finding(name, True, f"{shown} answers ({answer.status_code}); the key is not tried")


async def _packages(_settings: Settings) -> AsyncIterator[Finding]:
    for package, limit in BREAKS_PREFECT.items():
        found = version(package)
        fine = tuple(int(part) for part in found.split(".")[:2]) < limit
        said = found if fine else f"{found} breaks Prefect 3.8; install below {'.'.join(map(str, limit))}"
        yield Finding(package, fine, said)


async def _prefect(settings: Settings) -> AsyncIterator[Finding]:
    if settings.prefect_api_url is None:
        yield Finding("prefect", True, "PREFECT_API_URL is not set: `muster run` works in its own process")
        return
    try:
        await reach_prefect(settings)
        yield Finding("prefect", True, f"{without_login(settings.prefect_api_url)} answers")
    except MusterError as error:
        yield Finding("prefect", False, str(error))
