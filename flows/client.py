"""`client`: one client's batches of a run, one after the other; also started alone."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.lanes import run_lanes
from flows.parameters import EVERYTHING, Workloads
from muster import signals
from muster.driver import drive
from muster.errors import Interrupted
from muster.ledger.drivers import Turn
from muster.limits import Mode, mode_for
from muster.planning import Wanted, moment_key
from muster.report import batch_line, in_short
from muster.running import batches_to_work, check_ended
from muster.settings import Settings
from muster.wiring import open_book
from tasks.plan import plan
from tasks.report import progress_of, report


@flow(name="client", flow_run_name="{client}", persist_result=False)
async def client(
    client: str, workloads: Workloads = EVERYTHING, mode: Mode | None = None, run: int | None = None
) -> list[dict[str, Any]]:
    """Work one client's batches in the order of their workloads: take the lease, map lanes, await them, report.

    Args:
        client: The client's id, as `muster clients list` shows it.
        workloads: What is done for the client, one after the other.
        mode: `testing` is a small live sample. Left empty, FIRE_AND_FORGET_BATCH_PROCESS_TESTING decides.
        run: The number of the run whose batches are worked. Left empty, a run of this client alone is opened.
    """
    settings = Settings.read()
    with signals.watched():
        async with open_book(settings) as book:
            run_id = run
            if run_id is None:
                key = moment_key(f"client:{client}", await book.readings.now())
                names = tuple(str(name) for name in workloads)
                run_id = await plan(Wanted(key, "client", mode_for(settings, mode), names, (client,)))
            batch_ids = await batches_to_work(book, Turn(client, run_id))
            for batch_id in batch_ids:
                async with progress_of(book, batch_id):
                    await drive(book, settings, batch_id, run_lanes)
                await report(batch_id)
                if signals.stopping():
                    raise Interrupted(
                        "Asked to stop; everything finished is kept, and the same run goes on where it stood."
                    )
            if run is None:
                await book.runs.close(run_id)
            await check_ended(book, batch_ids)
            batches = [batch_line(await book.readings.batch(batch_id)) for batch_id in batch_ids]
        return Completed(message=in_short(batches), data=batches)  # type: ignore[return-value]  # the caller gets its data
