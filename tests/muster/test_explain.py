"""What a person is told who asks why."""

import pytest

from muster.errors import NotFound
from muster.explain import explain_batch, explain_item
from muster.landing import land
from muster.ledger import Book
from muster.ledger.live import UPSTREAM
from muster.limits import Terms
from muster.outcomes import ErrorKind, Retry
from tests.conftest import Clock
from tests.factories import a_batch, a_lease, no_rows
from tests.muster.ledger.test_allotments import grants


async def why(book: Book, batch_id: int, key: str | None = None) -> str:
    facts = await book.explaining.facts(batch_id)
    if key is None:
        return " ".join(explain_batch(facts))
    item, before = await book.explaining.item(batch_id, key)
    return " ".join(explain_item(item, before, facts))


async def test_a_queued_batch_waits_for_a_driver_or_its_turn_or_another_batch(book: Book):
    batch_id = await a_batch(book, 3)
    assert "with 3 open items. No driver is running: `muster reconcile`" in await why(book, batch_id)

    await book.drivers.enter("me")
    assert "It is next" in await why(book, batch_id)

    other = await a_batch(book, 3, key="other", client="other")
    assert "1 client with higher priority or served less come first" in await why(book, other)

    await book.batches.take(batch_id, "me")
    later = await a_batch(book, 3, key="later")
    assert f"It waits for batch {batch_id} of the same client and workload, which is in progress." in await why(
        book, later
    )


async def test_a_batch_at_work_names_what_holds_its_upstream_up(book: Book, clock: Clock):
    lease = await a_lease(book, 30)
    await grants(book, lease, "one")
    assert "Nothing holds web up" in await why(book, lease.batch_id)

    await book.upstreams.set("web", {"concurrency": 4})
    await grants(book, lease, "one", held=4)
    said = "web has all of its 4 calls in flight, 4 of them this batch's: its fair share now."
    assert said in await why(book, lease.batch_id)

    await grants(book, lease, "one", throttled_s=30.0)
    assert "web asked to wait: no call before 03:00:30 UTC" in (await why(book, lease.batch_id)).replace(
        f"{clock():%H:%M}:30", "03:00:30"
    )

    async def fail(tx: object) -> None:
        broken = {"breaker": "open", "open_until": clock(), "since": clock(), "error": "connection refused"}
        await tx.run(UPSTREAM.update().values(broken))  # type: ignore[attr-defined]

    await book.database.write(fail)
    said = await why(book, lease.batch_id)
    assert "web failed so often in a row that nobody calls it since" in said
    assert "connection refused" in said


async def test_calls_of_a_process_that_is_gone_are_told_with_their_end(book: Book):
    lease = await a_lease(book, 30)
    await grants(book, lease, "one")
    await book.upstreams.set("web", {"concurrency": 4})
    await grants(book, lease, "one", held=4, longest_s=90.0)

    await book.lanes.leave(lease, "one", {"web": 4})

    said = "4 calls of a process that is gone may still be carried out, and count until"
    assert said in await why(book, lease.batch_id)
    (line,) = await book.explaining.troubles([lease.batch_id])
    assert said in line
    assert "that may hold up 30 items" in line


async def test_an_item_says_how_often_it_was_tried_and_when_it_is_tried_again(book: Book):
    lease = await a_lease(book, 3)
    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 2})
    assert "is in flight since" in await why(book, lease.batch_id, "0")
    assert "0 items of the batch come before it, 0 of 3 tries used" in await why(book, lease.batch_id, "2")

    later = land(items[0], Retry(kind=ErrorKind.TRANSIENT, error="502 from web", wait=60), tries=3)
    await book.lanes.settle(lease, "one", [later], no_rows)
    said = await why(book, lease.batch_id, "0")

    assert "is tried again at" in said
    assert "1 of 3 tries used; the last time: 502 from web" in said
    with pytest.raises(NotFound, match="Batch 1 has no item 'x'"):
        await why(book, lease.batch_id, "x")


@pytest.mark.parametrize("order", ["pause", "cancel"])
async def test_a_batch_that_somebody_stopped_says_so(book: Book, order: str):
    lease = await a_lease(book, 3)
    await getattr(book.orders, order)(lease.batch_id)

    said = await why(book, lease.batch_id)

    assert ("is paused: `muster resume 1`" if order == "pause" else "is cancelled since") in said
