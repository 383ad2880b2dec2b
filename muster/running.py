"""Working a run in this process: several clients at once, a client's batches one after the other, no server needed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from muster import signals
from muster.driver import drive
from muster.errors import MusterError, WorkFailed
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.settings import Settings
from muster.states import CLOSED_BATCHES, BatchState
from muster.wiring import work_lane

WorkClient = Callable[[str], Awaitable[Any]]


async def work_clients(clients: Sequence[str], work: WorkClient, at_once: int) -> dict[str, BaseException]:
    """Work clients, `at_once` at the same time; one's failure never stops another. What went wrong, by client."""
    slots = asyncio.Semaphore(at_once)

    async def in_turn(client: str) -> None:
        async with slots:
            if not signals.stopping():
                await work(client)

    ended = await asyncio.gather(*(in_turn(client) for client in clients), return_exceptions=True)
    return {client: error for client, error in zip(clients, ended, strict=True) if error is not None}


async def clients_to_work(book: Book, run_id: int) -> list[str]:
    """The clients of a run that still have an open batch."""
    batches = await book.readings.batches_of_run(run_id)
    return list(dict.fromkeys(it["client_id"] for it in batches if it["state"] not in CLOSED_BATCHES))


async def batches_to_work(book: Book, run_id: int, client_id: str) -> list[int]:
    """A client's open batches of a run, in the order in which they are worked."""
    batches = await book.readings.batches_of_run(run_id)
    return [it["id"] for it in batches if it["client_id"] == client_id and it["state"] not in CLOSED_BATCHES]


async def work_run(book: Book, settings: Settings, run_id: int) -> dict[str, BaseException]:
    """Work every open batch of a run here, and close the run if that ends it. What went wrong, by client."""

    async def lanes(lease: Lease, n: int) -> list[BaseException]:
        ended = await asyncio.gather(*(work_lane(lease, settings) for _ in range(n)), return_exceptions=True)
        return [it for it in ended if isinstance(it, BaseException)]

    async def client(client_id: str) -> None:
        for batch_id in await batches_to_work(book, run_id, client_id):
            if not signals.stopping():
                await drive(book, batch_id, lanes)

    wrong = await work_clients(await clients_to_work(book, run_id), client, settings.clients_at_once)
    await book.runs.close(run_id)
    for error in wrong.values():
        if not isinstance(error, MusterError):
            raise error
    return wrong


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
