"""Working batches in this process, no server needed: a client's one after the other, several clients at once."""

import asyncio
from collections.abc import Sequence

from muster import signals
from muster.driver import drive
from muster.errors import MusterError, WorkFailed
from muster.ledger import Book
from muster.ledger.drivers import Turn
from muster.ledger.lease import Lease
from muster.processes import run_lane
from muster.pulling import Wrong, pull
from muster.settings import Settings
from muster.states import BatchState


async def batches_to_work(book: Book, turn: Turn) -> list[int]:
    """A client's batches of a run that want a driver, in the order in which they are worked."""
    batches = await book.readings.batches_of_run(turn.run_id)
    wanting = {BatchState.QUEUED, BatchState.IN_PROGRESS}
    mine = [it for it in batches if it["client_id"] == turn.client_id and not it["held"]]
    return [it["id"] for it in mine if it["state"] in wanting]


async def work_turn(book: Book, settings: Settings, turn: Turn) -> None:
    """Work a client's batches of a run here, and close the run if that ends it."""
    for batch_id in await batches_to_work(book, turn):
        if not signals.stopping():
            await _drive_here(book, settings, batch_id)
    await book.runs.close(turn.run_id)


async def work_started(book: Book, settings: Settings, lease: Lease) -> None:
    """Work a batch whose lease is won already, and close its run if that ends it."""
    await _drive_here(book, settings, lease.batch_id, lease)
    await book.runs.close((await book.readings.batch(lease.batch_id))["run_id"])


async def _drive_here(book: Book, settings: Settings, batch_id: int, lease: Lease | None = None) -> None:
    """Drive a batch with its lanes in this process, or in processes of their own."""

    async def lanes(lease: Lease, n: int, apart: bool) -> list[BaseException]:
        ended = await asyncio.gather(
            *(run_lane(book, lease, settings, apart=apart) for _ in range(n)), return_exceptions=True
        )
        return [it for it in ended if isinstance(it, BaseException)]

    await drive(book, settings, batch_id, lanes, lease=lease)


async def work_run(book: Book, settings: Settings, run_id: int) -> dict[str, BaseException]:
    """Work every open batch of a run, or wait for the driver that does; what went wrong, by client."""
    wrong = await pull(book, settings, lambda turn: work_turn(book, settings, turn), only=run_id, until=run_id)
    await book.runs.close(run_id)
    return _by_client(wrong)


async def work_all(book: Book, settings: Settings) -> dict[str, BaseException]:
    """Work whatever is queued until nothing is; what went wrong, by client."""
    return _by_client(await pull(book, settings, lambda turn: work_turn(book, settings, turn)))


def _by_client(wrong: Wrong) -> dict[str, BaseException]:
    for error in wrong.values():
        if not isinstance(error, MusterError):
            raise error
    return {turn.client_id: error for turn, error in wrong.items()}


async def check_ended(book: Book, batch_ids: Sequence[int]) -> None:
    """Refuse to call work done that was stopped before its end.

    Raises:
        WorkFailed: a batch failed; the sentence says why.
    """
    batches = [await book.readings.batch(batch_id) for batch_id in batch_ids]
    failed = [
        f"batch {it['id']} ({it['workload']}): {it['reason']}" for it in batches if it["state"] == BatchState.FAILED
    ]
    if failed:
        raise WorkFailed("Stopped before the end: " + "; ".join(failed))
