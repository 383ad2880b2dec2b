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
from muster.ledger.database import Row
from muster.ledger.lease import Lease
from muster.limits import Limits
from muster.preflight import keyless
from muster.processes import work_apart
from muster.settings import Settings
from muster.states import BatchState

BEATS: Final = 4  # in the time after which a silent driver is dead
FRUITLESS_ROUNDS: Final = 3  # rounds of lanes in a row that closed nothing, before the driver gives up

RunLanes = Callable[[Lease, int, bool], Awaitable[list[BaseException]]]


def driver_name() -> str:
    """Who drives: host and process, for the log."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def drive(
    book: Book, settings: Settings, batch_id: int, run_lanes: RunLanes, *, lease: Lease | None = None
) -> BatchState:
    """Take a batch and keep lanes on it until it leaves `in_progress`, or the process is asked to end.

    Whoever has its `lease` already hands it over, and the batch is not taken.
    `run_lanes(lease, n, apart)` runs n lanes to their end, as processes if `apart`, and returns what killed any; while
    the batch is open they are run again.

    Raises:
        WrongState: the batch cannot be taken.
        WorkFailed: its lanes die again and again.
        LeaseLost: another driver took it.
    """
    try:
        async with _held(book, lease or await _take(book, batch_id)) as (held, beats):
            await _work(book, settings, held, beats, run_lanes)
    except LeaseLost:
        if (await _state(book, batch_id)) is BatchState.IN_PROGRESS:  # otherwise a person gave an order
            raise
    return await _state(book, batch_id)


async def _work(book: Book, settings: Settings, lease: Lease, beats: "asyncio.Task[None]", run_lanes: RunLanes) -> None:
    await _preflight(book, settings, lease)
    fruitless = 0
    while not signals.stopping():
        if beats.done():
            beats.result()
        before = await book.readings.batch(lease.batch_id)
        if before["state"] != BatchState.IN_PROGRESS:
            return
        apart = before["remaining"] >= settings.processes_from
        errors = await run_lanes(lease, _lanes(before), apart) + await _suspects(book, settings, lease)
        after = await book.batches.beat(lease)
        fruitless = fruitless + 1 if errors and after.remaining == before["remaining"] else 0
        if fruitless == FRUITLESS_ROUNDS:
            raise WorkFailed(f"The lanes of batch {lease.batch_id} die again and again: {errors[0]}") from errors[0]


async def _preflight(book: Book, settings: Settings, lease: Lease) -> None:
    """Name what no call can be made to before the first one; the other upstreams go on."""
    lacking = keyless(settings, (await book.readings.batch(lease.batch_id))["upstreams"])
    if lacking:
        await book.batches.stop_upstreams(lease, lacking)


async def _suspects(book: Book, settings: Settings, lease: Lease) -> list[BaseException]:
    """Work what brought lanes down before, each item alone in its process; what killed the work of it."""
    suspects = await book.readings.suspects(lease.batch_id)
    if not suspects or signals.stopping():
        return []
    allowed = Limits.model_validate((await book.readings.batch(lease.batch_id))["limits"]).lanes
    lanes = (work_apart(book, lease, settings, alone=True) for _ in range(min(suspects, allowed)))
    ended = await asyncio.gather(*lanes, return_exceptions=True)
    return [it for it in ended if isinstance(it, BaseException)]


@asynccontextmanager
async def _held(book: Book, lease: Lease) -> AsyncIterator[tuple[Lease, "asyncio.Task[None]"]]:
    beats = asyncio.create_task(_beat(book, lease))
    try:
        yield lease, beats
    finally:
        beats.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await beats
        with suppress(LeaseLost):
            stopped = signals.stopping()
            await book.batches.release(
                lease, "the driver was asked to stop" if stopped else "given up", blameless=stopped
            )


async def _take(book: Book, batch_id: int) -> Lease:
    """Take the batch; a driver that seems to live may be dead for less than the time in which that shows."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(Busy),
        wait=wait_fixed(min(1, book.stale_after_s / 4)),
        stop=stop_after_delay(1.25 * book.stale_after_s),
        reraise=True,
    ):
        with attempt:
            return await book.batches.take(batch_id, driver_name())
    raise AssertionError("tenacity gives up by raising")


async def _beat(book: Book, lease: Lease) -> None:
    while True:
        await asyncio.sleep(book.stale_after_s / BEATS)
        await book.batches.beat(lease)


async def _state(book: Book, batch_id: int) -> BatchState:
    return BatchState((await book.readings.batch(batch_id))["state"])


def _lanes(batch: Row) -> int:
    """As many lanes as are allowed, and no more than have a full hand to do."""
    frozen = Limits.model_validate(batch["limits"])
    return max(1, min(frozen.lanes, -(-int(batch["remaining"]) // frozen.in_flight)))
