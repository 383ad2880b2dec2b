"""Crashes count against what was in flight; what brings its process down alone is poison, and nothing else is."""

from collections.abc import Sequence

from muster.landing import Claimed, land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.ledger.returns import POISON_UNSEEN
from muster.limits import Terms
from muster.outcomes import Succeeded
from tests.conftest import Clock
from tests.factories import a_lease, no_rows

ALL = {"web": 99}


async def crash(book: Book, clock: Clock, lease: Lease, *, alone: bool = False) -> Lease:
    """Another driver takes the batch from one that fell silent, and one lane of its own enters."""
    clock.pass_(30)
    new = await book.batches.take(lease.batch_id, "another")
    await book.lanes.enter(new, f"lane {new.epoch}", alone=alone)
    return new


async def claim(book: Book, lease: Lease, wants: int = 99, *, alone: bool = False) -> Sequence[Claimed]:
    items, _ = await book.lanes.claim(lease, f"lane {lease.epoch}", Terms(), {"web": wants}, alone=alone)
    return items


async def crashes(book: Book, lease: Lease) -> list[int]:
    return [it["crashes"] async for it in book.readings.items(lease.batch_id)]


async def suspects(book: Book, clock: Clock, items: int) -> Lease:
    """A taken batch all of whose items were in flight in two crashes; its lane works alone."""
    lease = await a_lease(book, items, lanes=["lane 1"])
    for last in (False, True):
        await claim(book, lease)
        lease = await crash(book, clock, lease, alone=last)
    return lease


async def test_a_crash_counts_against_what_was_in_flight_and_a_clean_end_does_not(book: Book, clock: Clock):
    lease = await a_lease(book, 4, lanes=["lane 1"])
    await claim(book, lease, 2)
    await book.lanes.leave(lease, "lane 1")
    assert await crashes(book, lease) == [0, 0, 0, 0]
    await book.lanes.enter(lease, "lane 1")
    await claim(book, lease, 2)

    await crash(book, clock, lease)

    assert await crashes(book, lease) == [1, 1, 0, 0]
    kept = await book.readings.attempts(lease.batch_id)
    assert [it["error_kind"] for it in kept] == ["unknown_outcome"] * 2


async def test_a_suspect_is_claimed_alone_and_by_no_other_lane(book: Book, clock: Clock):
    lease = await suspects(book, clock, 3)
    await book.lanes.enter(lease, "ordinary")

    items, standing = await book.lanes.claim(lease, "ordinary", Terms(), ALL)
    alone = await claim(book, lease, alone=True)

    assert items == []
    assert standing.ready is not None
    assert (standing.ready.suspects, standing.ready.others) == (3, False)
    assert len(alone) == 1


async def test_what_was_seen_to_bring_its_process_down_alone_is_poison_and_its_neighbours_are_not(
    book: Book, clock: Clock
):
    lease = await suspects(book, clock, 3)
    (item,) = await claim(book, lease, alone=True)
    await book.lanes.enter(lease, "next to it", alone=True)
    (neighbour,), _ = await book.lanes.claim(lease, "next to it", Terms(), ALL, alone=True)

    assert await book.lanes.fallen(lease, f"lane {lease.epoch}", "signal 9") == 1

    (failed,) = await book.readings.failures(lease.batch_id)
    assert (failed["id"], failed["error_kind"]) == (item.id, "poison")
    standing = await book.lanes.settle(lease, "next to it", [land(neighbour, Succeeded(), tries=1)], no_rows)
    assert standing.remaining == 1


async def test_a_lane_of_many_that_dies_makes_no_poison(book: Book, clock: Clock):
    lease = await a_lease(book, 3, lanes=["lane 1"])
    for _ in range(POISON_UNSEEN + 1):
        await claim(book, lease)
        await book.lanes.fallen(lease, f"lane {lease.epoch}", "signal 9")
        await book.lanes.enter(lease, f"lane {lease.epoch}")

    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 3}


async def test_where_nobody_saw_it_die_only_a_row_of_crashes_alone_makes_poison(book: Book, clock: Clock):
    lease = await suspects(book, clock, 1)
    for _ in range(POISON_UNSEEN - 3):
        assert len(await claim(book, lease, alone=True)) == 1
        lease = await crash(book, clock, lease, alone=True)
        assert await book.readings.failures(lease.batch_id) == []
    assert len(await claim(book, lease, alone=True)) == 1

    clock.pass_(30)
    await book.batches.take(lease.batch_id, "the last")

    (failed,) = await book.readings.failures(lease.batch_id)
    assert failed["error_kind"] == "poison"
    assert (await book.readings.batch(lease.batch_id))["state"] == "done"
