"""Driving a batch: hold its lease, beat, keep lanes on it until it ends, give it up cleanly."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from muster import signals
from muster.errors import Busy, LeaseLost, WorkFailed
from muster.ledger import Book
from muster.ledger.batches import STALE_AFTER
from muster.ledger.lease import Lease
from muster.limits import Limits
from muster.states import BatchState

BEAT_S: Final = 5.0
PATIENCE_S: Final = STALE_AFTER.total_seconds() + 5
FRUITLESS_ROUNDS: Final = 3  # rounds of lanes in a row that closed nothing, before the driver gives up

RunLanes = Callable[[Lease, int], Awaitable[list[BaseException]]]


def driver_name() -> str:
    """Who drives: host and process, for the log."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def drive(book: Book, batch_id: int, run_lanes: RunLanes) -> BatchState:
    """Take a batch and keep lanes on it until it leaves `in_progress`, or the process is asked to end.

    `run_lanes(lease, n)` runs n lanes to their end and returns what killed any; while the batch is open they are run
    again.

    Raises:
        WrongState: the batch cannot be taken.
        WorkFailed: its lanes die again and again.
        LeaseLost: another driver took it.
    """
    async with _held(book, batch_id) as lease:
        fruitless = 0
        while not signals.stopping():
            before = await book.readings.batch(batch_id)
            if before["state"] != BatchState.IN_PROGRESS:
                break
            errors = await run_lanes(lease, _lanes(before["limits"], before["remaining"]))
            after = await book.readings.batch(batch_id)
            fruitless = fruitless + 1 if errors and after["remaining"] == before["remaining"] else 0
            if fruitless == FRUITLESS_ROUNDS:
                raise WorkFailed(f"The lanes of batch {batch_id} die again and again: {errors[0]}") from errors[0]
    return BatchState((await book.readings.batch(batch_id))["state"])


@asynccontextmanager
async def _held(book: Book, batch_id: int) -> AsyncIterator[Lease]:
    lease = await _take(book, batch_id)
    beats = asyncio.create_task(_beat(book, lease))
    try:
        yield lease
    finally:
        beats.cancel()
        with suppress(asyncio.CancelledError, LeaseLost):
            await beats
        with suppress(LeaseLost):
            await book.batches.release(lease, "the driver was asked to stop" if signals.stopping() else "given up")


async def _take(book: Book, batch_id: int) -> Lease:
    """Take the batch; a driver that seems to live may be dead for less than the time in which that shows."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(Busy), wait=wait_fixed(1), stop=stop_after_delay(PATIENCE_S), reraise=True
    ):
        with attempt:
            return await book.batches.take(batch_id, driver_name())
    raise AssertionError("tenacity gives up by raising")


async def _beat(book: Book, lease: Lease) -> None:
    while True:
        await asyncio.sleep(BEAT_S)
        await book.batches.beat(lease)


def _lanes(limits: dict[str, object], remaining: int) -> int:
    """As many lanes as are allowed, and no more than have a full hand to do."""
    frozen = Limits.model_validate(limits)
    return max(1, min(frozen.lanes, -(-remaining // frozen.in_flight)))
