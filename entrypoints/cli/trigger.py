"""`muster trigger`: start the night's run as the scheduler would, watch it, and say whether all of it was processed."""

import asyncio
import getpass
import socket
from contextlib import suppress
from datetime import datetime
from time import monotonic
from typing import Annotated, Any, Final

import typer

from entrypoints.cli.account import account_of
from entrypoints.cli.prefect import quiet_prefect, reach_prefect
from entrypoints.cli.speech import note, say, say_json
from entrypoints.cli.speech import run as run_async
from entrypoints.cli.watch import AsJson, Interval, Timeout, Watched, end, follow, look
from muster import signals
from muster.errors import BadInput, Interrupted, WorkFailed
from muster.ledger import Book
from muster.ledger.database import Row
from muster.ledger.runs import NIGHTLY
from muster.limits import mode_for
from muster.planning import Wanted, nightly_key, open_run
from muster.preflight import keyless
from muster.report import counted
from muster.running import work_run
from muster.settings import Settings
from muster.states import RunState
from muster.wiring import open_book
from muster.workloads import SHELF

START_S: Final = 180.0  # a worker takes its time to start a flow
LOOK_S: Final = 1.0


def trigger(
    force: Annotated[bool, typer.Option("--force", help="Run again although today's run is there.")] = False,
    no_monitor: Annotated[bool, typer.Option("--no-monitor", help="Start it, and show nothing of it.")] = False,
    timeout: Timeout = 60,
    interval: Interval = 10,
    as_json: AsJson = False,
) -> None:
    """Start the night's run as the scheduler would, and watch every batch until all items are processed.

    With PREFECT_API_URL set the deployment `nightly/nightly` runs it, else this process does. Without --force, a run of
    today that is there is gone on with. Exit code 0 when nothing remains (failed items are processed too), 1 when items
    remain or the time is over.

    \b
    muster trigger --force
    muster trigger --force --timeout 30 --json     in CI
    muster trigger --no-monitor
    """  # noqa: D301, click's own sign for "do not wrap"
    settings = Settings.read()
    if no_monitor and settings.prefect_api_url:
        run_async(_start_only(settings, force, as_json))
        return
    watched, account = run_async(_work(settings, force, interval, timeout, show=not (no_monitor or as_json)))
    end(watched, account, as_json=as_json)


async def _work(
    settings: Settings, force: bool, interval: float, timeout_min: float, *, show: bool
) -> tuple[Watched, dict[str, Any]]:
    with signals.watched():
        async with open_book(settings) as book:
            if settings.prefect_api_url:
                watched = await _deployed(book, settings, force, interval, timeout_min, show=show)
            else:
                watched = await _inline(book, settings, force, interval, timeout_min, show=show)
            return watched, (await account_of(book, watched.seen.run["id"]))[0]


async def _inline(
    book: Book, settings: Settings, force: bool, interval: float, timeout_min: float, *, show: bool
) -> Watched:
    """Open the run and work it in this process, watching it from beside."""
    await _check_clients(book)
    mode = mode_for(settings)
    key = nightly_key(await book.readings.now(), settings, mode)
    run_id = await open_run(book, settings, Wanted(key, NIGHTLY, mode, tuple(SHELF), (), force, who()))
    await _say_start(book, settings, run_id)
    work = asyncio.create_task(work_run(book, settings, run_id))
    watched = await follow(book, run_id, interval, timeout_min, show=show, working=lambda: not work.done())
    if watched.late:
        signals.stop()  # calls in flight finish; what is open stays open
    for client, why in (await work).items():
        note(f"{client}: {why}")
    return Watched(await look(book, run_id), watched.late)


async def _deployed(
    book: Book, settings: Settings, force: bool, interval: float, timeout_min: float, *, show: bool
) -> Watched:
    """Start the deployment, wait for its run, and watch that."""
    await _check_clients(book)
    began, since = monotonic(), await _start_deployment(book, settings, force)
    note("The deployment nightly/nightly is started; waiting for a worker to open its run …")
    run = await _opened(book, settings, since, force, min(START_S, 60 * timeout_min))
    await _say_start(book, settings, run["id"])
    left_min = max(0.01, timeout_min - (monotonic() - began) / 60)
    return await follow(book, run["id"], interval, left_min, show=show)


async def _check_clients(book: Book) -> None:
    """An empty night would be the day's, and hide that nothing was set up."""
    if not await book.clients.all():
        raise BadInput("There are no clients yet; `muster clients import FILE.csv` brings them.")


async def _start_only(settings: Settings, force: bool, as_json: bool) -> None:
    async with open_book(settings) as book:
        await _start_deployment(book, settings, force)
    said = "The deployment nightly/nightly was started; `muster watch` shows its run."
    say_json({"started": True}) if as_json else say(said)


async def _start_deployment(book: Book, settings: Settings, force: bool) -> datetime:
    """Start the flow as the scheduler would; the ledger's time before that."""
    await reach_prefect(settings)
    quiet_prefect()
    from flows.dispatch import start_night  # noqa: PLC0415, importing Prefect takes seconds

    since = await book.readings.now()
    await start_night({"force": force, "started_by": who()})
    return since


async def _opened(book: Book, settings: Settings, since: datetime, force: bool, within_s: float) -> Row:
    """The run that the flow opens, or, unforced, the one of today that it finds.

    Raises:
        WorkFailed: no worker has begun it in time.
    """
    key = nightly_key(since, settings, mode_for(settings))
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not signals.stopping():
                newest = await book.runs.of_key(key)
                if newest is not None and (newest["started_at"] >= since or not force):
                    return newest
                await asyncio.sleep(LOOK_S)
            raise Interrupted("Interrupted before the run was opened; the deployment's run goes on without this.")
    raise WorkFailed(
        f"No run was opened within {within_s:.0f} s: `prefect worker start --pool muster` starts a worker."
    )


async def _say_start(book: Book, settings: Settings, run_id: int) -> None:
    """Which run it is, and what is known to be missing before the first call."""
    run, batches = await book.runs.get(run_id), await book.readings.batches_of_run(run_id)
    items = counted(sum(it["total"] for it in batches), "item")
    note(f"Run {run['key']} ({run['mode']} mode): {counted(len(batches), 'batch', 'batches')}, {items}.")
    if run["state"] == RunState.DONE:
        note("It was over before; `muster trigger --force` opens another one.")
    for name, why in keyless(settings, sorted({name for it in batches for name in it["upstreams"]})).items():
        note(f"{name}: {why} Its items stay open; the others go on.")


def who() -> str:
    """Who asks, for the record."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container's user may have no name
        return socket.gethostname()
