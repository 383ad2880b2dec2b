"""`muster reconcile`: judge every open batch, mend what is amiss, and work what nobody works."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, TypeVar

import typer

from entrypoints.cli.prefect import quiet_prefect, reach_prefect
from entrypoints.cli.speech import complain, note, say, say_json, say_table
from entrypoints.cli.speech import run as run_async
from muster import signals
from muster.errors import BadInput, ConfigurationError, Interrupted, WorkFailed
from muster.ledger import Book
from muster.ledger.mending import CALM
from muster.reconcile import Finding, look, reconcile_surely, wants_driver
from muster.reconcile import reconcile as judge_and_mend
from muster.report import batch_line, counted, stopped_line
from muster.running import work_all
from muster.settings import Settings
from muster.wiring import open_book

ENDS: Final = ("id", "client", "workload", "state", "total", "succeeded", "failed", "remaining", "reason")
HEAD: Final = ("batch", "of", "verdict", "why")
LEAST_S: Final = 1.0
MOST_S: Final = 3600.0

T = TypeVar("T")


def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and why.")] = False,
    every: Annotated[float | None, typer.Option(help="Go on for ever, a look every so many seconds.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Close, take over, start or fail the batches that need it, and work what is queued until nothing is.

    \b
    muster reconcile --dry-run
    muster reconcile
    muster reconcile --every 5
    """  # noqa: D301, click's own sign for "do not wrap"
    if every is not None and not LEAST_S <= every <= MOST_S:
        raise BadInput(f"--every {every:g} must be between {LEAST_S:g} and {MOST_S:g} seconds.")
    if every is not None and (dry_run or as_json):
        raise BadInput("--every goes on for ever; leave out --dry-run and --json.")
    settings = Settings.read()
    if settings.dispatch == "deployment" and settings.prefect_api_url is None and not dry_run:
        raise ConfigurationError("MUSTER_DISPATCH=deployment starts drivers through Prefect; set PREFECT_API_URL.")
    if every is not None:
        run_async(_for_ever(settings, every))
        raise Interrupted("Asked to stop; everything finished is kept.")
    run_async(_once(settings, dry_run=dry_run, as_json=as_json))
    if signals.stopping():
        raise Interrupted("Asked to stop; everything finished is kept. To go on: muster reconcile")


async def _once(settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    with signals.watched():
        async with open_book(settings) as book:
            found = await (look(book) if dry_run else reconcile_surely(book, settings))
            stopped = [stopped_line(it) for it in await book.readings.stopped_batches()]
            if not as_json:
                _say(found, stopped)
            ends: list[dict[str, Any]] = []
            if wants_driver(found) and not dry_run:
                await _work(book, settings)
                ends = [batch_line(await book.readings.batch(it.batch_id)) for it in found if it.batch_id is not None]
    if as_json:
        data = {"findings": [_data(it) for it in found], "stopped": stopped, "worked": ends}
        say_json({"dry_run": dry_run, **data})
    elif ends:
        say_table(ENDS, [[it[name] for name in ENDS] for it in ends], "\nWorked")
    if settings.dispatch == "inline" and any(it["remaining"] for it in ends) and not signals.stopping():
        raise typer.Exit(WorkFailed.exit_code)


async def _for_ever(settings: Settings, every: float) -> None:
    """Look again and again; what is queued is worked beside it, so that a long batch delays no look."""
    working: asyncio.Task[Any] | None = None
    note(f"Watching the ledger: a look every {every:g} s, until Ctrl+C.")
    with signals.watched():
        async with open_book(settings) as book:
            while not signals.stopping():
                found = await _going_on(_look(book, settings)) or ()
                if wants_driver(found) and (working is None or working.done()):
                    working = asyncio.create_task(_going_on(_work(book, settings)))
                await _pause(every)
            if working is not None:
                await working


async def _look(book: Book, settings: Settings) -> Sequence[Finding]:
    found = await judge_and_mend(book, settings)
    for it in found:
        if it.verdict not in CALM:
            note(f"{_name(it)} {it.name}: {it.verdict}, {it.reason}")
    return found


async def _going_on(work: Awaitable[T]) -> T | None:
    """Whatever goes wrong now is said, and ends no watch: the next look may find it mended."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001
        complain(error)
        return None


async def _pause(seconds: float) -> None:
    """Wait, but end as soon as the process is asked to."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not signals.stopping():  # noqa: ASYNC110, a signal sets no event of a loop
                await asyncio.sleep(0.2)


async def _work(book: Book, settings: Settings) -> None:
    if settings.dispatch == "deployment":
        await reach_prefect(settings)
        quiet_prefect()
        from flows.dispatch import start_drivers  # noqa: PLC0415, importing Prefect takes seconds

        note(f"{counted(await start_drivers(settings), 'driver')} started.")
        return
    for name, why in (await work_all(book, settings)).items():
        note(f"{name}: {why}")


def _say(found: Sequence[Finding], stopped: Sequence[str]) -> None:
    if found:
        say_table(HEAD, [(_name(it), it.name, it.verdict, it.reason) for it in found])
    else:
        say("No batch is open.")
    for line in stopped:
        say(line)


def _name(found: Finding) -> str:
    return f"run {found.run_id}" if found.batch_id is None else f"batch {found.batch_id}"


def _data(found: Finding) -> dict[str, Any]:
    named = {"run": found.run_id, "batch": found.batch_id, "name": found.name}
    return {**named, "verdict": str(found.verdict), "reason": found.reason}
