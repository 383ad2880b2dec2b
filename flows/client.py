"""`client`: one client's batches of a run, one after the other; also started alone."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.lanes import run_lanes
from flows.parameters import EVERYTHING, ModeChoice, Workloads
from muster import signals
from muster.driver import drive
from muster.errors import Interrupted
from muster.limits import mode_for
from muster.planning import Wanted, moment_key
from muster.running import batches_to_work, check_ended
from muster.settings import Settings
from muster.wiring import open_book
from tasks.plan import plan
from tasks.report import progress_of, report


@flow(name="client", flow_run_name="{client}", persist_result=False)
async def client(
    client: Annotated[str, Field(description="The client's id, as `muster clients list` shows it.")],
    workloads: Workloads = EVERYTHING,
    mode: ModeChoice = None,
    run: Annotated[
        int | None,
        Field(description="The run whose batches are worked; left empty, a run of this client alone is opened."),
    ] = None,
) -> None:
    """Work one client's batches in the order of their workloads: take the lease, map lanes, await them, report."""
    settings = Settings.read()
    with signals.watched():
        async with open_book(settings) as book:
            run_id = run
            if run_id is None:
                key = moment_key(f"client:{client}", await book.readings.now())
                names = tuple(str(name) for name in workloads)
                run_id = await plan(Wanted(key, "client", mode_for(settings, mode), names, (client,)))
            batch_ids = await batches_to_work(book, run_id, client)
            for batch_id in batch_ids:
                async with progress_of(book, batch_id):
                    await drive(book, batch_id, run_lanes)
                await report(batch_id)
                if signals.stopping():
                    raise Interrupted(
                        "Asked to stop; everything finished is kept, and the same run goes on where it stood."
                    )
            if run is None:
                await book.runs.close(run_id)
            await check_ended(book, batch_ids)
