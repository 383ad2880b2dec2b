"""`drive`: a driver that pulls: it works whatever is queued, each client as a sub-flow, until nothing is left."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.client import client
from muster import signals
from muster.errors import Interrupted, WorkFailed
from muster.ledger import Book
from muster.ledger.drivers import Turn
from muster.pulling import Wrong, pull
from muster.report import counted
from muster.settings import Settings
from muster.wiring import open_book
from tasks.report import report_run

STOPPED = "Asked to stop; everything finished is kept, and any driver goes on where it stood."


@flow(name="drive", persist_result=False)
async def drive() -> list[dict[str, Any]]:
    """Work the clients with queued batches, served least first, several at once, until none is left."""
    settings = Settings.read()
    turns: list[Turn] = []
    with signals.watched():
        async with open_book(settings) as book:
            wrong = await work_queued(book, settings, turns)
        check(wrong)
    said = f"Worked {counted(len(turns), 'client')}." if turns else "Nothing was queued."
    data = [{"client": turn.client_id, "run": turn.run_id} for turn in turns]
    return Completed(message=said, data=data)  # type: ignore[return-value]  # the caller gets its data


async def work_queued(book: Book, settings: Settings, turns: list[Turn], *, until: int | None = None) -> Wrong:
    """Run the flow `client` for each turn, and report each run that ends; `until` is reported by its own flow."""

    async def work(turn: Turn) -> None:
        turns.append(turn)
        await client(client=turn.client_id, run=turn.run_id)
        if turn.run_id != until and await book.runs.close(turn.run_id):
            await report_run(turn.run_id)

    return await pull(book, settings, work, until=until)


def check(wrong: Wrong) -> None:
    """Say how the work ended, if not well.

    Raises:
        Interrupted: the process was asked to end.
        WorkFailed: a client's work could not be brought to its end.
    """
    if signals.stopping():
        raise Interrupted(STOPPED)
    if wrong:
        said = "; ".join(f"{turn.client_id}: {why}" for turn, why in wrong.items())
        raise WorkFailed(f"Not worked to the end: {said}")
