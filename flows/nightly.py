"""`nightly`: one run over all clients, worked in this process or by drivers that it starts."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.dispatch import A_DAY, start_drivers
from flows.drive import check, work_queued
from flows.parameters import EVERYTHING, Workloads
from muster import signals
from muster.ledger.runs import NIGHTLY
from muster.limits import Mode, mode_for
from muster.planning import Wanted, nightly_key
from muster.report import counted, in_short
from muster.settings import Settings
from muster.wiring import open_book
from tasks.plan import plan
from tasks.report import report_run

PASSED_OVER = "Passed over: it was to begin more than a day ago, and the next night has begun or will."


@flow(name="nightly", persist_result=False)
async def nightly(
    mode: Mode | None = None,
    workloads: Workloads = EVERYTHING,
    clients: list[str] = [],  # noqa: B006, nobody changes it, and Prefect's forms show it
    force: bool = False,
    key: str | None = None,
    started_by: str | None = None,
) -> dict[str, Any]:
    """Open the night's run, work every included client, and account for every client and item.

    Args:
        mode: `testing` is a small live sample: at most 5 clients, 5 profiles, 5 leads, 5 posts. Left empty,
            FIRE_AND_FORGET_BATCH_PROCESS_TESTING decides.
        workloads: What is done for each client, one after the other.
        clients: Ids of the clients to take. Left empty, all of them.
        force: Run again although today's run is there; opens `#2`, `#3`, and so on.
        key: The run's key. Left empty, `nightly:` and the local date, and `:testing` in testing mode.
        started_by: Who asks for it, for the record. Left empty, the schedule.
    """
    settings = Settings.read()
    with signals.watched():
        async with open_book(settings) as book:
            now = await book.readings.now()
            meant_for = flow_run.scheduled_start_time or now  # one that is begun late still is its own day's
            if key is None and not force and now - meant_for > A_DAY:
                return Completed(message=PASSED_OVER, data={})  # type: ignore[return-value]  # the caller gets its data
            names = tuple(str(name) for name in workloads)
            run_mode = mode_for(settings, mode)
            run_key = key or nightly_key(meant_for, settings, run_mode)
            run_id = await plan(Wanted(run_key, NIGHTLY, run_mode, names, tuple(clients), force, started_by))
            if settings.dispatch == "deployment":
                started = counted(await start_drivers(settings), "driver")
                accounted = await report_run(run_id)
                said = f"{in_short(accounted['batches'])}; {started} started"
                return Completed(message=said, data=accounted)  # type: ignore[return-value]  # the caller gets its data
            wrong = await work_queued(book, settings, [], until=run_id)
            await book.runs.close(run_id)
        accounted = await report_run(run_id)
        check(wrong)
        return Completed(message=in_short(accounted["batches"]), data=accounted)  # type: ignore[return-value]  # the caller gets its data
