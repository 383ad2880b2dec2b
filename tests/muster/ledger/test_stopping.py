"""Stopping at the first failure, no more at once than allowed, going on: each exact, on both databases."""

import pytest

from muster.allotment import Report
from muster.errors import Busy, NotFound, WrongState
from muster.landing import Claimed, land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.limits import Terms
from muster.outcomes import ErrorKind, Failed, Outcome, Retry, Succeeded
from muster.states import BatchState
from tests.conftest import Clock
from tests.factories import a_lease, no_rows

BROKEN = Failed(kind=ErrorKind.REJECTED, error="no good")
TWO = Terms(at_once=2)


async def claim(book: Book, lease: Lease, lane: str, n: int, terms: Terms = TWO) -> list[Claimed]:
    return (await book.lanes.claim(lease, lane, terms, {"web": n}))[0]


async def settle(book: Book, lease: Lease, lane: str, items: list[Claimed], said: Outcome, tries: int = 1) -> None:
    await book.lanes.settle(lease, lane, [land(it, said, tries=tries) for it in items], no_rows)


async def state(book: Book, lease: Lease) -> BatchState:
    return BatchState((await book.readings.batch(lease.batch_id))["state"])


async def test_no_more_items_are_begun_than_may_be_over_all_lanes(book: Book):
    lease = await a_lease(book, 5, lanes=("one", "two"))

    first, second = await claim(book, lease, "one", 1), await claim(book, lease, "two", 5)
    none = await claim(book, lease, "one", 5)

    assert [it.key for it in (*first, *second)] == ["0", "1"]
    assert none == []
    await settle(book, lease, "one", first, Succeeded())
    assert [it.key for it in await claim(book, lease, "two", 5)] == ["2"]


@pytest.mark.parametrize("failure", [BROKEN, Retry(kind=ErrorKind.TRANSIENT, error="500")])
async def test_after_the_first_failure_nothing_new_is_begun_and_what_is_in_flight_is_kept(book: Book, failure: Outcome):
    lease = await a_lease(book, 5, lanes=("one", "two"), fail_fast=True)
    failing, flying = await claim(book, lease, "one", 1), await claim(book, lease, "two", 1)

    await settle(book, lease, "one", failing, failure)

    batch = await book.readings.batch(lease.batch_id)
    assert batch["state"] == BatchState.FAILED
    assert batch["reason"].startswith("stopped at the first failure, '0': ")
    assert await claim(book, lease, "two", 1) == []
    await settle(book, lease, "two", flying, Succeeded())
    counts = await book.readings.count_by_state(lease.batch_id)
    assert counts == {"failed": 1, "succeeded": 1, "pending": 3}


async def test_a_try_that_is_not_the_last_stops_nothing(book: Book):
    lease = await a_lease(book, 2, fail_fast=True)

    await settle(
        book, lease, "one", await claim(book, lease, "one", 1), Retry(kind=ErrorKind.PARSE, error="?"), tries=2
    )

    assert await state(book, lease) is BatchState.IN_PROGRESS


async def test_a_last_item_that_fails_leaves_the_batch_done(book: Book):
    lease = await a_lease(book, 1, fail_fast=True)

    await settle(book, lease, "one", await claim(book, lease, "one", 1), BROKEN)

    assert await state(book, lease) is BatchState.DONE


async def test_a_run_is_not_closed_while_living_lanes_finish_its_items(book: Book):
    lease = await a_lease(book, 3, lanes=("one", "two"), fail_fast=True)
    failing, flying = await claim(book, lease, "one", 1), await claim(book, lease, "two", 1)
    run_id = (await book.readings.batch(lease.batch_id))["run_id"]
    await book.runs.planned(run_id)
    await settle(book, lease, "one", failing, BROKEN)

    assert not await book.runs.close(run_id)

    await settle(book, lease, "two", flying, Succeeded())
    assert await book.runs.close(run_id)


async def test_going_on_opens_what_failed_changes_how_it_is_worked_and_repeats_no_success(book: Book):
    lease = await a_lease(book, 4, lanes=("one", "two"), fail_fast=True, at_once=1)
    await settle(book, lease, "one", await claim(book, lease, "one", 1), Succeeded())
    await settle(book, lease, "one", await claim(book, lease, "one", 1), BROKEN)
    await book.batches.release(lease, "over")

    opened = await book.orders.go_on(lease.batch_id, {"at_once": 3, "fail_fast": False})

    batch = await book.readings.batch(lease.batch_id)
    assert opened == 1
    assert (batch["state"], batch["limits"]["at_once"], batch["limits"]["fail_fast"]) == (BatchState.QUEUED, 3, False)
    assert await book.readings.count_by_state(lease.batch_id) == {"succeeded": 1, "pending": 3}
    assert await book.orders.go_on(lease.batch_id, {}) == 0  # the second time there is nothing to open


async def test_going_on_waits_for_calls_in_flight_and_for_what_is_there_to_do(book: Book):
    lease = await a_lease(book, 3, lanes=("one", "two"), fail_fast=True)
    failing, flying = await claim(book, lease, "one", 1), await claim(book, lease, "two", 1)
    assert await book.orders.go_on(lease.batch_id, {}) is None  # its driver is at it
    await settle(book, lease, "one", failing, BROKEN)

    with pytest.raises(Busy, match="still in flight"):
        await book.orders.go_on(lease.batch_id, {})

    await settle(book, lease, "two", flying, Succeeded())
    await book.orders.cancel(lease.batch_id)
    with pytest.raises(WrongState, match="cancelled"):
        await book.orders.go_on(lease.batch_id, {})
    done = await a_lease(book, 1, key="done", client="birch")
    await settle(book, done, "one", await claim(book, done, "one", 1), Succeeded())
    with pytest.raises(NotFound, match="nothing to resume"):
        await book.orders.go_on(done.batch_id, {})


async def test_a_batch_whose_driver_was_killed_goes_on_with_what_had_failed(book: Book, clock: Clock):
    lease = await a_lease(book, 3)
    await settle(book, lease, "one", await claim(book, lease, "one", 1), BROKEN)
    await claim(book, lease, "one", 1)
    clock.pass_(3600)

    assert await book.orders.go_on(lease.batch_id, {}) == 1

    assert await state(book, lease) is BatchState.QUEUED
    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 3}


async def test_what_a_step_cost_is_recorded_once_and_with_it(book: Book):
    lease = await a_lease(book, 1)
    (item,) = await claim(book, lease, "one", 1)

    for _ in range(2):
        await book.lanes.remember(lease, "one", item, "paid", {"n": 1}, 700)

    batch = await book.readings.batch(lease.batch_id)
    assert batch["cost_micros"] == 700
    assert [it["cost_micros"] async for it in book.readings.items(lease.batch_id)] == [700]
    await settle(book, lease, "one", [item], Succeeded(cost_micros=5))
    assert (await book.readings.batch(lease.batch_id))["cost_micros"] == 705


async def test_calls_beside_an_items_own_upstream_count_after_a_kill(book: Book, clock: Clock):
    """As many as the dead lane had items running, also at an upstream that no item has as its own."""
    lease = await a_lease(book, 9, lanes=("one", "two"))
    await claim(book, lease, "one", 2, Terms(beside=("second",)))
    busy = {name: Report(held=2, most=4, longest_s=30.0) for name in ("web", "second", "third")}
    await book.lanes.beat(lease, "one", busy)
    await book.batches.beat(lease)
    clock.pass_(15)
    await book.batches.beat(lease)
    await book.lanes.beat(lease, "two")
    clock.pass_(10)  # `one` is silent by now, `two` is not

    await book.batches.beat(lease)

    held = {it["name"]: it["in_flight"] for it in await book.upstreams.all()}
    assert {name: held[name] for name in busy} == {"web": 2, "second": 2, "third": 2}
