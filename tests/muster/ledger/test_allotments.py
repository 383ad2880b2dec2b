"""Lanes come by at the ledger and get their part of an upstream, on either database."""

from typing import Any

import pytest
from sqlalchemy import select, update

from muster.allotment import Grant, Report
from muster.breaker import FAILURES, Heard
from muster.errors import NotFound
from muster.landing import land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.ledger.live import ALLOTMENT, UPSTREAM
from muster.ledger.standing import Ready
from muster.ledger.tables import BATCH, ITEM, SUSPECT_FROM
from muster.limits import Terms
from muster.outcomes import Succeeded
from muster.states import BreakerState
from muster.upstreams.hints import Bucket, Room
from tests.conftest import Clock
from tests.factories import a_batch, a_lease, no_rows


async def grants(book: Book, lease: Lease, lane: str, **said: Any) -> Grant:
    report = Report(**{"most": 10, "longest_s": 30.0, **said})
    _, granted = await book.lanes.beat(lease, lane, {"web": report})
    return granted["web"]


async def limited(book: Book, **limits: float | None) -> None:
    await book.upstreams.set("web", limits)


async def crowd(book: Book, lanes: int, **limits: float | None) -> list[tuple[Lease, str]]:
    """Lanes of as many clients, each with a batch of 50."""
    there = []
    for number in range(lanes):
        name = f"lane-{number}"
        lease = await a_lease(book, 50, key=f"k{number}", client=f"client-{number}", lanes=[name])
        await grants(book, lease, name)
        there.append((lease, name))
    await limited(book, **limits)
    return there


async def row(book: Book, lane: str) -> Any:
    return await book.database.read(lambda tx: tx.row(select(ALLOTMENT).where(ALLOTMENT.c.lane == lane)))


async def upstream(book: Book) -> Any:
    return await book.database.read(lambda tx: tx.row(select(UPSTREAM).where(UPSTREAM.c.name == "web")))


async def test_nothing_limits_what_nobody_has_limited(book: Book):
    lease = await a_lease(book, 5)

    granted = await grants(book, lease, "one")

    assert (granted.allotted, granted.slots, granted.due) == (None, None, 5)


async def test_lanes_get_equal_parts_whatever_comes_first(book: Book):
    lanes = await crowd(book, 3, concurrency=9)

    for _ in range(2):
        parts = [(await grants(book, lease, name)).allotted for lease, name in lanes]

    assert parts == [3, 3, 3]


async def test_a_lane_that_leaves_frees_its_part_and_one_that_gave_up_waiting_does_not(book: Book):
    (first, one), (second, two) = await crowd(book, 2, concurrency=8)
    await grants(book, first, one, held=4)
    await grants(book, second, two, held=4)

    await book.lanes.leave(first, one, {"web": 3})
    assert (await grants(book, second, two, held=4)).allotted == 5
    await book.lanes.leave(second, two)
    assert await row(book, two) is None


async def test_a_lane_that_fell_silent_is_charged_with_what_it_had_claimed_until_that_has_timed_out(
    book: Book, clock: Clock
):
    (first, one), (second, two) = await crowd(book, 2, concurrency=10)
    await grants(book, second, two)
    await book.lanes.claim(first, one, Terms(), {"web": 2})
    assert (await grants(book, first, one, held=1)).allotted == 5

    clock.pass_(4)
    assert (await grants(book, second, two, held=5)).allotted == 5
    clock.pass_(2)
    assert (await grants(book, second, two, held=5)).allotted == 8  # two items were in its hands
    clock.pass_(28)
    assert (await grants(book, second, two, held=5)).allotted == 8
    clock.pass_(3)
    assert (await grants(book, second, two, held=5)).allotted == 10
    assert await row(book, one) is None


async def test_what_a_crashed_lane_may_have_in_flight_outlives_its_items(book: Book, clock: Clock):
    (first, one), (second, two) = await crowd(book, 2, concurrency=10)
    await book.lanes.claim(first, one, Terms(), {"web": 3})
    await grants(book, first, one, held=3)
    await book.lanes.fallen(first, one, "signal 9")
    clock.pass_(6)

    assert (await grants(book, second, two)).allotted == 7


async def test_send_slots_are_given_out_once(book: Book, clock: Clock):
    lanes = await crowd(book, 3, per_minute=60)
    slots = []
    for _ in range(20):
        for lease, name in lanes:
            had = (await grants(book, lease, name)).slots
            assert had is not None
            slots += [clock().timestamp() + it for it in had]
            clock.pass_(0.5)

    gaps = [later - sooner for sooner, later in zip(sorted(slots), sorted(slots)[1:], strict=False)]
    assert min(gaps) > 1.0
    assert len(slots) >= 27


async def test_a_limit_that_is_set_holds_from_the_next_beat_and_stands_in_the_log(book: Book):
    lease = await a_lease(book, 50)
    assert (await grants(book, lease, "one", held=9)).allotted is None

    await limited(book, concurrency=4)

    assert (await grants(book, lease, "one", held=9)).allotted == 4
    events = await book.readings.events(lease.batch_id)
    assert "Limits of web: concurrency none → 4." in [it["message"] for it in events]
    await limited(book, concurrency=None)
    assert (await grants(book, lease, "one", held=4)).allotted is None


async def test_an_upstream_nobody_knows_cannot_be_limited(book: Book):
    with pytest.raises(NotFound, match="There is no upstream 'wep'; there are anthropic, apify"):
        await book.upstreams.set("wep", {"concurrency": 1})


async def test_a_lane_that_is_told_to_wait_holds_up_all(book: Book, clock: Clock):
    (first, one), (second, two) = await crowd(book, 2)

    await grants(book, first, one, throttled_s=12.0)

    assert (await grants(book, second, two)).hold_s == pytest.approx(12)
    clock.pass_(13)
    after = await grants(book, second, two)
    assert after.hold_s == 0
    assert after.allotted is not None  # and it bears less for a while
    clock.pass_(700)
    assert (await grants(book, second, two)).allotted is None


async def test_failures_of_several_lanes_open_the_breaker_for_all_and_one_of_them_probes(book: Book, clock: Clock):
    (first, one), (second, two) = await crowd(book, 2)
    await grants(book, first, one, heard=Heard(failures=FAILURES - 1), error="boom")

    opened = await grants(book, second, two, heard=Heard(failures=1), error="boom")

    assert (opened.breaker, opened.hold_s) == (BreakerState.OPEN, 5)
    assert (await upstream(book))["error"] == "boom"
    clock.pass_(5)
    assert (await grants(book, first, one)).allotted == 1
    assert (await grants(book, second, two)).allotted == 0
    assert (await grants(book, first, one, heard=Heard(answered=True))).breaker is BreakerState.CLOSED
    assert (await grants(book, second, two)).allotted is None


async def test_an_upstream_that_says_it_is_nearly_full_is_called_more_slowly(book: Book):
    lease = await a_lease(book, 50)

    granted = await grants(book, lease, "one", room=Room(Bucket(600.0, 0.05), None, 30.0))

    assert granted.slots is not None
    assert (await upstream(book))["paced_per_minute"] == 300
    again = await grants(book, lease, "one", room=Room(Bucket(600.0, 0.5), None, 30.0))
    assert again.slots is None


async def test_tokens_are_reserved_with_a_slot_and_corrected_after_the_call(book: Book):
    await a_batch(book, 50)
    lease = await book.batches.take(1, "me")
    await book.lanes.enter(lease, "one")
    await grants(book, lease, "one")
    await limited(book, tokens_per_minute=60_000)

    first = await grants(book, lease, "one")
    before = await upstream(book)
    await grants(book, lease, "one", slots=10, tokens_off=5_000.0, tokens_each=2_000.0, began=4)
    after = await upstream(book)

    assert first.tokens == 1000
    assert len(first.slots or ()) == 3  # a thousand a second
    assert (after["tokens_at"] - before["tokens_at"]).total_seconds() == pytest.approx(5.05)
    assert 1000 < after["tokens_per_call"] < 2000


async def test_suspects_of_an_upstream_that_is_called_no_more_keep_no_lane_waiting(book: Book):
    async def stop(tx: Any) -> None:
        await tx.run(update(ITEM).where(ITEM.c.key == "0").values(crashes=SUSPECT_FROM))
        await tx.run(update(ITEM).where(ITEM.c.key != "0").values(upstream="other"))
        await tx.run(update(BATCH).values(stopped={"other": "no key"}))

    lease = await a_lease(book, 3)
    await book.database.write(stop)

    _, standing = await book.lanes.claim(lease, "one", Terms(), {"web": 5})

    assert standing.ready == Ready(suspects=1, others=False)


async def test_two_workloads_that_call_the_same_upstream_share_its_limit(book: Book):
    numbers = await a_lease(book, 50, key="a", lanes=["one"])
    letters = await a_lease(book, 50, key="b", workload="letters", lanes=["two"])
    await grants(book, numbers, "one")
    await grants(book, letters, "two")
    await limited(book, concurrency=6)

    for _ in range(2):
        parts = [(await grants(book, lease, lane)).allotted for lease, lane in ((numbers, "one"), (letters, "two"))]

    assert parts == [3, 3]


async def test_who_waits_for_a_driver_has_the_part_of_one_that_was_served_much_used_by_the_others(book: Book):
    lanes = await crowd(book, 4, concurrency=24)
    (big, lane), *_ = lanes
    items, _ = await book.lanes.claim(big, lane, Terms(), {"web": 45})
    await book.lanes.settle(big, lane, [land(it, Succeeded(), tries=1) for it in items], no_rows)
    for number in range(20):
        await a_batch(book, 1, key=f"waits-{number}", client=f"waits-{number}")

    for _ in range(2):
        parts = [(await grants(book, lease, name)).allotted for lease, name in lanes]

    assert parts[0] == 1
    assert sorted(it or 0 for it in parts[1:]) == [7, 8, 8]
