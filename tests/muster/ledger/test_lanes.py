"""Claim and settle: one transaction each, fenced, counted from the rows that moved."""

import asyncio

import pytest
from sqlalchemy import select

from muster.errors import LeaseLost, Unsettled
from muster.landing import Claimed, give_back, land
from muster.ledger import Book
from muster.ledger.tables import ATTEMPT, EVENT, ITEM
from muster.limits import Terms
from muster.outcomes import ErrorKind, Failed, Outcome, Retry, Skipped, Succeeded
from muster.states import BatchState, ItemState
from tests.conftest import Clock
from tests.factories import a_lease, all_gained, no_rows

ALL = {"web": 100}


def landed(items: list[Claimed], outcome: Outcome, tries: int = 3):
    return [land(item, outcome, tries=tries) for item in items]


async def test_a_claim_takes_due_items_in_their_order(book: Book):
    lease = await a_lease(book, 5)

    items, standing = await book.lanes.claim(lease, "one", Terms(), {"web": 3})

    assert [item.key for item in items] == ["0", "1", "2"]
    assert [item.payload for item in items] == [{"number": n} for n in range(3)]
    assert {item.starts for item in items} == {1}
    assert standing.remaining == 5


async def test_two_lanes_never_hold_the_same_item(book: Book):
    lease = await a_lease(book, 40, lanes=("one", "two"))

    claims = await asyncio.gather(*(book.lanes.claim(lease, lane, Terms(), {"web": 7}) for lane in ("one", "two") * 3))

    taken = [item.id for items, _ in claims for item in items]
    assert len(taken) == len(set(taken)) == 40


async def test_what_settles_last_closes_the_batch_exactly_once(book: Book):
    lease = await a_lease(book, 4, lanes=("one", "two"))
    ones, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 2})
    twos, _ = await book.lanes.claim(lease, "two", Terms(), {"web": 2})

    ends = await asyncio.gather(
        book.lanes.settle(lease, "one", landed(ones, Succeeded()), no_rows),
        book.lanes.settle(lease, "two", landed(twos, Failed(kind=ErrorKind.REJECTED, error="no")), no_rows),
    )

    assert sorted(end.state for end in ends) == [BatchState.DONE, BatchState.IN_PROGRESS]
    batch = await book.readings.batch(lease.batch_id)
    assert (batch["succeeded"], batch["failed"], batch["remaining"]) == (2, 2, 0)
    events = [event["kind"] for event in await book.readings.events(lease.batch_id)]
    assert events.count("batch.done") == 1


async def test_settling_twice_counts_once(book: Book):
    lease = await a_lease(book, 3)
    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 2})

    await book.lanes.settle(lease, "one", landed(items, Succeeded()), no_rows)
    standing = await book.lanes.settle(lease, "one", landed(items, Succeeded()), no_rows)

    assert standing.remaining == 1


async def test_a_lane_whose_driver_lost_the_lease_can_write_nothing(book: Book, clock: Clock):
    old = await a_lease(book, 3)
    items, _ = await book.lanes.claim(old, "one", Terms(), {"web": 2})
    clock.pass_(60)
    await book.batches.take(old.batch_id, "another")

    with pytest.raises(LeaseLost):
        await book.lanes.settle(old, "one", landed(items, Succeeded()), no_rows)
    with pytest.raises(LeaseLost):
        await book.lanes.claim(old, "one", Terms(), ALL)
    with pytest.raises(LeaseLost):
        await book.lanes.remember(old, "one", items[0], "paid", 1)
    with pytest.raises(LeaseLost):
        await book.lanes.beat(old, "one")
    assert (await book.readings.count_by_state(old.batch_id)) == {"pending": 3}


async def test_a_stale_outcome_of_the_same_lane_moves_nothing(book: Book):
    """The item was given back and claimed again: the first start no longer counts."""
    lease = await a_lease(book, 1)
    first, _ = await book.lanes.claim(lease, "one", Terms(), ALL)
    await book.lanes.settle(lease, "one", [give_back(first[0])], no_rows)
    second, _ = await book.lanes.claim(lease, "one", Terms(), ALL)

    standing = await book.lanes.settle(lease, "one", landed(first, Succeeded()), no_rows)

    assert second[0].starts == 2
    assert standing.remaining == 1


async def test_a_waiting_item_comes_back_when_it_is_due_and_not_before(book: Book, clock: Clock):
    lease = await a_lease(book, 1)
    items, _ = await book.lanes.claim(lease, "one", Terms(), ALL)
    throttled = Retry(kind=ErrorKind.THROTTLED, error="slow down", wait=30)
    await book.lanes.settle(lease, "one", landed(items, throttled), no_rows)

    none, standing = await book.lanes.claim(lease, "one", Terms(), ALL)
    clock.pass_(40)
    again, _ = await book.lanes.claim(lease, "one", Terms(), ALL)

    assert none == []
    assert standing.next_due_s is not None
    assert 30 <= standing.next_due_s <= 34
    assert [item.tries for item in again] == [0]


async def test_success_clears_the_error_and_the_history_stays(book: Book, clock: Clock):
    lease = await a_lease(book, 1)
    items, _ = await book.lanes.claim(lease, "one", Terms(), ALL)
    wobble = Retry(kind=ErrorKind.TRANSIENT, error="wobble", status_code=503)
    await book.lanes.settle(lease, "one", landed(items, wobble), no_rows)
    clock.pass_(1000)
    items, _ = await book.lanes.claim(lease, "one", Terms(), ALL)
    await book.lanes.settle(lease, "one", landed(items, Succeeded(result={"a": 1})), no_rows)

    (item,) = [row async for row in book.readings.items(lease.batch_id)]
    (attempt,) = await book.readings.attempts(lease.batch_id)

    assert (item["state"], item["error"], item["error_kind"], item["result"], item["tries"]) == (
        "succeeded", None, None, {"a": 1}, 2,
    )  # fmt: skip
    assert (attempt["number"], attempt["error_kind"], attempt["error"], attempt["status_code"]) == (
        1, "transient", "wobble", 503,
    )  # fmt: skip


async def test_a_denied_key_stops_its_upstream_and_the_batch_ends_failed_with_its_items_open(book: Book):
    lease = await a_lease(book, 50)
    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 2})
    denied = Retry(kind=ErrorKind.DENIED, error="web: 401, the key is wrong.", status_code=401)

    first = await book.lanes.settle(lease, "one", landed(items[:1], denied), no_rows)
    none, _ = await book.lanes.claim(lease, "one", Terms(), ALL)
    last = await book.lanes.settle(lease, "one", landed(items[1:], Succeeded()), no_rows)

    assert (first.state, none) == (BatchState.IN_PROGRESS, [])
    assert last.state is BatchState.FAILED
    batch = await book.readings.batch(lease.batch_id)
    assert (batch["reason"], batch["remaining"]) == ("web: 401, the key is wrong.", 49)

    await book.orders.resume(lease.batch_id)
    again = await book.batches.take(lease.batch_id, "me")
    await book.lanes.enter(again, "new")
    items, _ = await book.lanes.claim(again, "new", Terms(), ALL)

    assert len(items) == 49


async def test_the_target_is_reserved_by_claims_and_never_passed(book: Book):
    terms = Terms(claim=4, target=5, per_item=2)
    lease = await a_lease(book, 10, lanes=("one", "two"), terms=terms)

    ones, _ = await book.lanes.claim(lease, "one", terms, ALL)
    twos, _ = await book.lanes.claim(lease, "two", terms, ALL)

    assert [item.reserved for item in ones] == [2, 2, 1]
    assert twos == []


async def test_what_an_item_did_not_use_is_there_for_the_others(book: Book):
    terms = Terms(target=5, per_item=2)
    lease = await a_lease(book, 10, terms=terms)
    items, _ = await book.lanes.claim(lease, "one", terms, ALL)
    await book.lanes.settle(lease, "one", landed(items, Skipped(reason="no posts")), no_rows)

    more, _ = await book.lanes.claim(lease, "one", terms, ALL)

    assert [item.reserved for item in more] == [2, 2, 1]


async def test_at_the_target_the_rest_is_skipped_and_says_so(book: Book):
    terms = Terms(target=3, per_item=2)
    lease = await a_lease(book, 10, terms=terms)
    items, _ = await book.lanes.claim(lease, "one", terms, ALL)

    standing = await book.lanes.settle(lease, "one", landed(items, Succeeded()), all_gained)

    batch = await book.readings.batch(lease.batch_id)
    assert standing.state is BatchState.DONE
    assert (batch["gained"], batch["reserved"], batch["succeeded"], batch["skipped"]) == (3, 0, 2, 8)
    reasons = {row["error"] async for row in book.readings.items(lease.batch_id) if row["state"] == "skipped"}
    assert reasons == {"target reached"}


async def test_leaving_gives_everything_back(book: Book):
    terms = Terms(target=5, per_item=2)
    lease = await a_lease(book, 10, terms=terms)
    await book.lanes.claim(lease, "one", terms, ALL)

    await book.lanes.leave(lease, "one")

    assert (await book.readings.batch(lease.batch_id))["reserved"] == 0
    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 10}


async def test_the_items_of_a_silent_lane_come_back_under_the_same_epoch(book: Book, clock: Clock):
    lease = await a_lease(book, 4, lanes=("silent", "alive"))
    items, _ = await book.lanes.claim(lease, "silent", Terms(), {"web": 3})
    for _ in range(3):
        clock.pass_(8)
        await book.lanes.beat(lease, "alive")
        await book.batches.beat(lease)

    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 4}
    with pytest.raises(LeaseLost, match="silent"):
        await book.lanes.beat(lease, "silent")
    moved = await book.lanes.settle(lease, "silent", landed(items, Succeeded()), no_rows)
    assert moved.remaining == 4


async def test_a_step_is_remembered_for_the_next_attempt(book: Book):
    lease = await a_lease(book, 1)
    (item,), _ = await book.lanes.claim(lease, "one", Terms(), ALL)

    await book.lanes.remember(lease, "one", item, "run", {"id": "abc"})

    assert await book.lanes.recall(item) == {"run": {"id": "abc"}}


async def test_a_bug_leaves_its_traceback_in_the_log(book: Book):
    lease = await a_lease(book, 1)
    items, _ = await book.lanes.claim(lease, "one", Terms(), ALL)

    await book.lanes.settle(
        lease, "one", landed(items, Failed(kind=ErrorKind.BUG, error="KeyError", log="Traceback…")), no_rows
    )

    bug = next(event for event in await book.readings.events(lease.batch_id) if event["kind"] == "item.bug")
    assert (bug["level"], bug["item_id"], bug["data"]) == ("ERROR", items[0].id, {"traceback": "Traceback…"})


async def test_a_settle_that_fails_moves_nothing(book: Book):
    lease = await a_lease(book, 2)
    items, _ = await book.lanes.claim(lease, "one", Terms(), ALL)

    async def broken(tx: object, closed: object) -> dict[int, int]:
        raise KeyError("a workload's bug")

    with pytest.raises(Unsettled, match='KeyError: "a workload\'s bug"'):
        await book.lanes.settle(lease, "one", landed(items, Succeeded()), broken)

    assert await book.readings.count_by_state(lease.batch_id) == {"running": 2}
    async with book.database.reading() as tx:
        assert not await tx.rows(select(ATTEMPT))
        assert await tx.rows(select(EVENT))
        assert {row["state"] for row in await tx.rows(select(ITEM))} == {ItemState.RUNNING}
