"""Pause, resume, cancel, redrive: each in the states that allow it, and nothing in any other."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from muster.errors import LeaseLost, NotFound, WrongState
from muster.landing import land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.limits import Terms
from muster.outcomes import ErrorKind, Failed, Outcome, Succeeded
from muster.states import BatchState, RunState
from tests.conftest import Clock
from tests.factories import a_batch, a_lease, no_rows

Order = Callable[[Book, int], Awaitable[Any]]
ALLOWED: dict[str, tuple[Order, set[BatchState]]] = {
    "paused": (lambda book, batch: book.orders.pause(batch), {BatchState.IN_PROGRESS}),
    "resumed": (lambda book, batch: book.orders.resume(batch), {BatchState.PAUSED, BatchState.FAILED}),
    "cancelled": (
        lambda book, batch: book.orders.cancel(batch),
        {BatchState.QUEUED, BatchState.IN_PROGRESS, BatchState.PAUSED, BatchState.FAILED},
    ),
    "redriven": (lambda book, batch: book.orders.redrive(batch), {BatchState.DONE, BatchState.FAILED}),
}


async def settle(book: Book, lease: Lease, n: int, outcome: Outcome, lane: str = "one") -> None:
    items, _ = await book.lanes.claim(lease, lane, Terms(), {"web": n})
    await book.lanes.settle(lease, lane, [land(it, outcome, tries=1) for it in items], no_rows)


async def state(book: Book, batch_id: int) -> BatchState:
    return BatchState((await book.readings.batch(batch_id))["state"])


async def a_batch_that_is(book: Book, clock: Clock, wanted: BatchState) -> int:
    """A batch with a failed and a succeeded item, and except where it is done, open ones."""
    if wanted is BatchState.QUEUED:
        return await a_batch(book, 4)
    lease = await a_lease(book, 2 if wanted is BatchState.DONE else 4)
    await settle(book, lease, 1, Failed(kind=ErrorKind.PARSE, error="not JSON"))
    await settle(book, lease, 1, Succeeded())
    if wanted is BatchState.PAUSED:
        await book.orders.pause(lease.batch_id)
    if wanted is BatchState.CANCELLED:
        await book.orders.cancel(lease.batch_id)
    if wanted is BatchState.FAILED:
        clock.pass_(13 * 3600)
        await book.batches.beat(lease)
    assert await state(book, lease.batch_id) is wanted
    return lease.batch_id


@pytest.mark.parametrize("here", list(BatchState))
@pytest.mark.parametrize("said", list(ALLOWED))
async def test_an_order_works_in_the_states_that_allow_it_and_changes_nothing_in_any_other(
    book: Book, clock: Clock, said: str, here: BatchState
):
    give, allowed = ALLOWED[said]
    batch_id = await a_batch_that_is(book, clock, here)
    before = await book.readings.batch(batch_id)

    if here in allowed:
        await give(book, batch_id)
        return
    with pytest.raises(WrongState) as wrong:
        await give(book, batch_id)

    assert f"can be {said}" in str(wrong.value)
    assert all(it.replace("_", " ") in str(wrong.value) for it in allowed)
    assert await book.readings.batch(batch_id) == before


async def test_what_is_in_flight_when_a_batch_is_paused_finishes_and_nothing_new_begins(book: Book):
    lease = await a_lease(book, 5)
    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 2})

    await book.orders.pause(lease.batch_id)

    assert (await book.lanes.claim(lease, "one", Terms(), {"web": 2}))[0] == []
    standing = await book.lanes.settle(lease, "one", [land(it, Succeeded(), tries=1) for it in items], no_rows)
    assert (standing.state, standing.remaining, standing.is_workable) == (BatchState.PAUSED, 3, False)
    await book.batches.release(lease, "its lanes have ended")
    assert await state(book, lease.batch_id) is BatchState.PAUSED


async def test_a_paused_batch_whose_driver_is_still_there_goes_on_at_once(book: Book):
    lease = await a_lease(book, 5)
    await book.orders.pause(lease.batch_id)

    assert await book.orders.resume(lease.batch_id) is BatchState.IN_PROGRESS

    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 2})
    assert len(items) == 2


async def test_a_paused_batch_whose_driver_has_gone_is_queued(book: Book):
    lease = await a_lease(book, 5)
    await book.orders.pause(lease.batch_id)
    await book.batches.release(lease, "its lanes have ended")

    assert await book.orders.resume(lease.batch_id) is BatchState.QUEUED

    assert (await book.batches.take(lease.batch_id, "another")).epoch > lease.epoch


async def test_cancelling_leaves_no_item_open_and_fences_the_driver_off(book: Book):
    lease = await a_lease(book, 5)
    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 2})

    assert await book.orders.cancel(lease.batch_id) == 5

    assert await book.readings.count_by_state(lease.batch_id) == {"cancelled": 5}
    with pytest.raises(LeaseLost):
        await book.lanes.settle(lease, "one", [land(it, Succeeded(), tries=1) for it in items], no_rows)
    with pytest.raises(LeaseLost):
        await book.batches.beat(lease)


async def test_redriving_opens_what_is_meant_keeps_the_history_and_repeats_no_success(book: Book, clock: Clock):
    lease = await a_lease(book, 4)
    await settle(book, lease, 1, Succeeded())
    await settle(book, lease, 1, Failed(kind=ErrorKind.PARSE, error="not JSON"))
    clock.pass_(3600)
    await book.lanes.beat(lease, "one")
    await settle(book, lease, 1, Failed(kind=ErrorKind.PARSE, error="not JSON either"))
    await settle(book, lease, 1, Failed(kind=ErrorKind.REJECTED, error="too long"))
    await book.runs.planned(1)
    assert await book.runs.close(1)

    opened = await book.orders.redrive(lease.batch_id, ["parse"], clock() - timedelta(minutes=5))

    assert opened == 1
    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 1, "failed": 2, "succeeded": 1}
    assert len(await book.readings.attempts(lease.batch_id)) == 3
    assert await state(book, lease.batch_id) is BatchState.QUEUED
    assert (await book.runs.get(1))["state"] == RunState.RUNNING


async def test_a_redrive_that_means_no_item_says_what_there_is(book: Book):
    lease = await a_lease(book, 1)
    await settle(book, lease, 1, Failed(kind=ErrorKind.PARSE, error="not JSON"))

    with pytest.raises(NotFound, match="there are: 1 parse"):
        await book.orders.redrive(lease.batch_id, ["transient"])

    assert await state(book, lease.batch_id) is BatchState.DONE


async def test_past_its_deadline_a_batch_fails_with_its_items_open_and_a_resume_gives_it_a_new_one(
    book: Book, clock: Clock
):
    lease = await a_lease(book, 3, deadline_s=60.0)
    clock.pass_(61)

    standing = await book.batches.beat(lease)

    assert (standing.state, standing.remaining) == (BatchState.FAILED, 3)
    assert "deadline: not over by 2026-11-22 03:01 UTC" in (await book.readings.batch(lease.batch_id))["reason"]
    await book.orders.resume(lease.batch_id)
    assert (await book.readings.batch(lease.batch_id))["deadline_at"] == clock() + timedelta(seconds=60)


async def test_its_duration_counts_from_its_first_driver(book: Book, clock: Clock):
    batch_id = await a_batch(book, 3, duration_s=100.0)
    clock.pass_(500)
    lease = await book.batches.take(batch_id, "me")
    clock.pass_(99)
    assert (await book.batches.beat(lease)).state is BatchState.IN_PROGRESS
    clock.pass_(2)

    assert (await book.batches.beat(lease)).state is BatchState.FAILED
