"""`nightly`: one run over all clients, each a sub-flow of its own, several at once."""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.client import client
from flows.parameters import EVERYTHING, ModeChoice, Workloads
from muster import signals
from muster.errors import Interrupted, WorkFailed
from muster.limits import mode_for
from muster.planning import Wanted, local_key
from muster.running import clients_to_work, work_clients
from muster.settings import Settings
from muster.wiring import open_book
from tasks.plan import plan
from tasks.report import report_run


@flow(name="nightly", persist_result=False)
async def nightly(
    mode: ModeChoice = None,
    workloads: Workloads = EVERYTHING,
    clients: Annotated[list[str], Field(description="Ids of the clients to take; left empty, all of them.")] = [],  # noqa: B006, Prefect's forms show it
    force: Annotated[bool, Field(description="Run again although today's run is there: opens `#2`, `#3`, …")] = False,
    key: Annotated[str | None, Field(description="The run's key; left empty, `nightly:` and the local date.")] = None,
) -> dict[str, Any]:
    """Open the night's run, work every included client, and account for every client and item."""
    settings = Settings.read()
    with signals.watched():
        async with open_book(settings) as book:
            names = tuple(str(name) for name in workloads)
            run_key = key or local_key("nightly", await book.readings.now(), settings)
            run_id = await plan(Wanted(run_key, "nightly", mode_for(settings, mode), names, tuple(clients), force))
            wrong = await work_clients(
                await clients_to_work(book, run_id),
                lambda name: client(client=name, run=run_id),
                settings.clients_at_once,
            )
            await book.runs.close(run_id)
        accounted = await report_run(run_id)
        if signals.stopping():
            raise Interrupted("Asked to stop; everything finished is kept, and the same run goes on where it stood.")
        if wrong:
            raise WorkFailed(f"{len(wrong)} clients: " + "; ".join(f"{name}: {error}" for name, error in wrong.items()))
        return accounted
