"""`nightly`: one run over all clients, worked in this process or by drivers that it starts."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.dispatch import start_drivers
from flows.drive import check, work_queued
from flows.parameters import EVERYTHING, Workloads
from muster import signals
from muster.limits import Mode, mode_for
from muster.planning import Wanted, local_key
from muster.report import counted, in_short
from muster.settings import Settings
from muster.wiring import open_book
from tasks.plan import plan
from tasks.report import report_run


@flow(name="nightly", persist_result=False)
async def nightly(
    mode: Mode | None = None,
    workloads: Workloads = EVERYTHING,
    clients: list[str] = [],  # noqa: B006, nobody changes it, and Prefect's forms show it
    force: bool = False,
    key: str | None = None,
) -> dict[str, Any]:
    """Open the night's run, work every included client, and account for every client and item.

    Args:
        mode: `testing` is a small live sample: at most 5 clients, 5 profiles, 5 leads, 5 posts. Left empty,
            FIRE_AND_FORGET_BATCH_PROCESS_TESTING decides.
        workloads: What is done for each client, one after the other.
        clients: Ids of the clients to take. Left empty, all of them.
        force: Run again although today's run is there; opens `#2`, `#3`, and so on.
        key: The run's key. Left empty, `nightly:` and the local date, and `:testing` in testing mode.
    """
    settings = Settings.read()
    with signals.watched():
        async with open_book(settings) as book:
            names = tuple(str(name) for name in workloads)
            run_mode = mode_for(settings, mode)
            run_key = key or local_key("nightly", await book.readings.now(), settings) + run_mode.suffix
            run_id = await plan(Wanted(run_key, "nightly", run_mode, names, tuple(clients), force))
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
