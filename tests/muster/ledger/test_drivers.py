"""Which client a driver takes next, and that no two drivers serve the same one."""

import asyncio
from datetime import timedelta

import pytest

from muster.errors import LeaseLost
from muster.landing import land
from muster.ledger import Book
from muster.ledger.drivers import Turn
from muster.limits import Terms
from muster.outcomes import Succeeded
from tests.conftest import Clock
from tests.factories import a_batch, no_rows


async def served(book: Book, client: str, items: int) -> None:
    """A client for whom so many items were closed today."""
    lease = await book.batches.take(await a_batch(book, items, key=f"{client}-before", client=client), "someone")
    await book.lanes.enter(lease, f"{client}-lane")
    claimed, _ = await book.lanes.claim(lease, f"{client}-lane", Terms(), {"web": items})
    done = [land(it, Succeeded(), tries=1) for it in claimed]
    await book.lanes.settle(lease, f"{client}-lane", done, no_rows)


async def picks(book: Book, driver: str, n: int) -> list[str]:
    turns = [await book.drivers.pick(driver) for _ in range(n)]
    return [turn.client_id for turn in turns if turn is not None]


async def test_the_client_that_was_served_least_for_its_weight_comes_first(book: Book):
    for client, items in (("much", 9), ("little", 3), ("heavy", 8)):
        await served(book, client, items)
    await book.clients.put([{"id": "heavy", "weight": 4.0}])
    for client in ("much", "little", "heavy", "new"):
        await a_batch(book, key=client, client=client)
    await book.drivers.enter("me")

    assert await picks(book, "me", 5) == ["new", "heavy", "little", "much"]


async def test_among_equals_the_oldest_batch_comes_first(book: Book):
    for client in ("zulu", "alpha"):
        await a_batch(book, key=client, client=client)
    await book.drivers.enter("me")

    assert await picks(book, "me", 2) == ["zulu", "alpha"]


async def test_what_a_living_driver_serves_no_other_takes_until_it_falls_silent(book: Book, clock: Clock):
    await a_batch(book)
    await book.drivers.enter("first")
    assert await picks(book, "first", 1) == ["acme"]
    await book.drivers.enter("second")
    assert await picks(book, "second", 1) == []
    clock.pass_(15)
    await book.drivers.beat("second")
    clock.pass_(6)

    assert await picks(book, "second", 1) == ["acme"]


async def test_drivers_that_pick_at_the_same_time_never_get_the_same_client(book: Book):
    clients = [f"c{number}" for number in range(6)]
    for client in clients:
        await a_batch(book, key=client, client=client)
    for driver in "abc":
        await book.drivers.enter(driver)

    turns = await asyncio.gather(*(book.drivers.pick(driver) for driver in "abcabc"))

    assert sorted(turn.client_id for turn in turns if turn) == clients


async def test_a_batch_that_has_to_wait_for_another_is_passed_over(book: Book):
    await book.batches.take(await a_batch(book, key="first"), "someone")
    await a_batch(book, key="second")
    await book.drivers.enter("me")

    assert await book.drivers.pick("me") is None


async def test_a_driver_of_one_run_takes_nothing_else(book: Book):
    await a_batch(book, key="one")
    await a_batch(book, key="two", client="other")
    await book.drivers.enter("me", 2)

    assert await book.drivers.pick("me") == Turn("other", 2)
    assert await book.drivers.pick("me") is None


async def test_what_went_wrong_is_not_taken_again_and_what_is_put_back_is_free(book: Book):
    await a_batch(book)
    await book.drivers.enter("me")
    turn = await book.drivers.pick("me")
    assert turn == Turn("acme", 1)

    await book.drivers.put_back("me", "acme")

    assert await book.drivers.pick("me", {turn}) is None
    assert await book.drivers.pick("me") == turn


async def test_a_driver_that_was_forgotten_learns_of_it(book: Book, clock: Clock):
    await book.drivers.enter("sleepy")
    clock.pass_(60)
    await book.drivers.enter("awake")

    with pytest.raises(LeaseLost):
        await book.drivers.beat("sleepy")
    with pytest.raises(LeaseLost):
        await book.drivers.pick("sleepy")
    assert [it["id"] for it in await book.drivers.alive()] == ["awake"]


async def test_a_turn_that_went_wrong_is_taken_again_once_its_batch_was_queued_anew(book: Book):
    batch_id = await a_batch(book)
    turn = Turn("acme", 1)
    lease = await book.batches.take(batch_id, "me")
    await book.batches.release(lease, "given up")
    await book.drivers.enter("me")

    assert await book.drivers.pick("me", wary=[turn]) is None
    await book.orders.cancel(batch_id)
    await a_batch(book, key="again")
    again = Turn("acme", 2)

    assert await book.drivers.pick("me", [again], wary=[again]) is None
    assert await book.drivers.pick("me", wary=[again]) == again


async def test_priority_comes_before_fairness_and_an_hour_of_waiting_counts_as_a_level(book: Book, clock: Clock):
    await a_batch(book, key="old", client="old", priority=5)
    clock.pass_(2 * 3600 + 1)
    await a_batch(book, key="usual", client="usual")
    await a_batch(book, key="late", client="late", priority=4)
    await a_batch(book, key="urgent", client="urgent", priority=1)
    await book.drivers.enter("me")

    assert await picks(book, "me", 5) == ["urgent", "old", "usual", "late"]


async def test_a_held_batch_is_nobodys_turn_until_it_is_let_go(book: Book, clock: Clock):
    batch_id = await a_batch(book, held=True, deadline_s=60.0)
    await book.drivers.enter("me")
    clock.pass_(19)
    assert await picks(book, "me", 1) == []
    assert await book.readings.clients_at_work(1) == []
    clock.pass_(3600)  # while it is held, its deadline does not count
    await book.drivers.enter("me")

    await book.orders.let_go(batch_id)
    await book.orders.let_go(batch_id)

    assert (await book.readings.batch(batch_id))["deadline_at"] == clock() + timedelta(seconds=60)
    assert [it["kind"] for it in await book.readings.events(batch_id)] == ["batch.started", "batch.queued"]
    assert await picks(book, "me", 1) == ["acme"]


async def test_whoever_takes_a_held_batch_starts_it(book: Book, clock: Clock):
    batch_id = await a_batch(book, held=True, deadline_s=60.0)
    clock.pass_(3600)

    lease = await book.batches.take(batch_id, "me")

    row = await book.readings.batch(batch_id)
    assert (row["held"], row["deadline_at"]) == (False, clock() + timedelta(seconds=60))
    await book.batches.release(lease, "given up")
    assert not (await book.readings.batch(batch_id))["held"]
