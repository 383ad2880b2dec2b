"""A batch is opened once, taken by one driver, and given up cleanly."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from muster.errors import Busy, LeaseLost, NotFound, WrongState
from muster.landing import NewItem, land
from muster.ledger import Book
from muster.ledger.opening import NewBatch
from muster.limits import Terms
from muster.outcomes import Succeeded
from muster.states import BatchState
from tests.conftest import Clock
from tests.factories import a_batch, a_lease, no_rows, some_limits


async def test_opening_it_again_finds_it_and_plans_nothing(book: Book):
    first = await a_batch(book, 3)

    second = await a_batch(book, 99)

    assert second == first
    assert (await book.readings.batch(first))["total"] == 3


async def test_many_open_it_at_the_same_time_and_it_is_opened_once(book: Book):
    await a_batch(book, 1, key="other")

    async def plan() -> AsyncGenerator[NewItem, None]:
        yield NewItem("only", "web", {})

    new = NewBatch(1, "acme", "numbers", "same", some_limits(), Terms(), {})
    opened = await asyncio.gather(*(book.batches.open(new, plan) for _ in range(5)))

    assert len({batch_id for batch_id, _ in opened}) == 1
    assert sum(is_new for _, is_new in opened) == 1


async def test_no_more_items_are_planned_than_the_terms_allow(book: Book):
    assert (await book.readings.batch(await a_batch(book, 50, terms=Terms(items=7))))["total"] == 7


async def test_a_plan_that_breaks_off_opens_nothing(book: Book):
    await a_batch(book, 1, key="other")

    async def broken() -> AsyncGenerator[NewItem, None]:
        yield NewItem("one", "web", {})
        raise KeyError("a bug in the plan")

    with pytest.raises(KeyError):
        await book.batches.open(NewBatch(1, "acme", "numbers", "broken", some_limits(), Terms(), {}), broken)

    assert [it["key"] for it in await book.readings.batches_of_run(1)] == ["other"]


async def test_two_drivers_take_it_and_one_has_it(book: Book):
    batch_id = await a_batch(book)

    taken = await asyncio.gather(*(book.batches.take(batch_id, name) for name in "ab"), return_exceptions=True)

    assert sorted(type(it).__name__ for it in taken) == ["Busy", "Lease"]


async def test_a_living_driver_keeps_it_and_a_silent_one_loses_it_with_its_items(book: Book, clock: Clock):
    lease = await a_lease(book, 5)
    await book.lanes.claim(lease, "one", Terms(), {"web": 3})
    clock.pass_(10)
    with pytest.raises(Busy, match="silent for 10 s"):
        await book.batches.take(lease.batch_id, "another")
    clock.pass_(11)

    new = await book.batches.take(lease.batch_id, "another")

    assert new.epoch == lease.epoch + 1
    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 5}
    with pytest.raises(LeaseLost):
        await book.batches.beat(lease)


async def test_released_it_can_be_taken_at_once(book: Book):
    lease = await a_lease(book, 5)
    await book.lanes.claim(lease, "one", Terms(), {"web": 3})

    await book.batches.release(lease, "asked to stop")

    batch = await book.readings.batch(lease.batch_id)
    assert (batch["state"], batch["driver"], batch["reserved"]) == (BatchState.QUEUED, None, 0)
    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 5}
    await book.batches.take(lease.batch_id, "another")


async def test_an_empty_batch_is_done_when_it_is_taken(book: Book):
    batch_id = await a_batch(book, 0)

    await book.batches.take(batch_id, "me")

    assert (await book.readings.batch(batch_id))["state"] == BatchState.DONE


async def test_what_is_over_cannot_be_taken_or_resumed(book: Book):
    lease = await a_lease(book, 1)
    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 1})
    await book.lanes.settle(lease, "one", [land(items[0], Succeeded(), tries=1)], no_rows)

    with pytest.raises(WrongState, match="is done"):
        await book.batches.take(lease.batch_id, "me")
    with pytest.raises(WrongState, match="only a batch that is paused or failed can be resumed"):
        await book.orders.resume(lease.batch_id)


async def test_a_batch_that_is_not_there_is_named(book: Book):
    with pytest.raises(NotFound, match="no batch 77"):
        await book.batches.take(77, "me")


async def test_a_run_forced_again_gets_a_number(book: Book):
    from muster.ledger.runs import NewRun  # noqa: PLC0415

    new = NewRun("nightly:2026-11-22", "nightly", "normal", {}, forced=True)
    ids = [(await book.runs.open(new, []))[0] for _ in range(3)]

    keys = [(await book.runs.get(run_id))["key"] for run_id in ids]
    assert keys == ["nightly:2026-11-22", "nightly:2026-11-22#2", "nightly:2026-11-22#3"]


async def test_a_batch_left_behind_by_a_dead_driver_does_not_block_the_next_run(book: Book, clock: Clock):
    left = await a_lease(book, 5, key="last-night")
    await book.lanes.claim(left, "one", Terms(), {"web": 3})
    tonight = await a_batch(book, 5, key="tonight")
    with pytest.raises(Busy, match=f"waits for batch {left.batch_id}"):
        await book.batches.take(tonight, "another")
    clock.pass_(21)

    await book.batches.take(tonight, "another")

    assert (await book.readings.batch(left.batch_id))["state"] == BatchState.QUEUED
    assert await book.readings.count_by_state(left.batch_id) == {"pending": 5}
    with pytest.raises(LeaseLost):
        await book.lanes.claim(left, "one", Terms(), {"web": 1})
