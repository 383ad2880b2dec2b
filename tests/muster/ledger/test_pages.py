"""The ledger a page at a time, and profiles found by what they are called."""

import pytest

from muster.errors import NotFound
from muster.ledger import Book
from muster.ledger.pages import Page, WhichBatches, WhichEvents
from muster.states import ItemState
from tests.drain import profile
from tests.factories import a_batch, a_client


async def test_pages_follow_one_another_without_a_gap(book: Book):
    batches = [await a_batch(book, 5, key=key) for key in "abc"]

    newest = await book.pages.batches(WhichBatches(client="acme"), Page(2))
    oldest = await book.pages.batches(WhichBatches(client="acme"), Page(2, newest[-1]["id"]))
    items = await book.pages.items(batches[0], ItemState.PENDING, Page(3, 1))
    log = await book.pages.events(batches[0], WhichEvents(), Page(9))

    assert [it["id"] for it in (*newest, *oldest)] == batches[::-1]
    assert [it["seq"] for it in items] == [2, 3, 4]
    assert await book.pages.newest_event(batches[0]) == log[0]["id"]
    assert await book.pages.new_events(batches[0], Page(9, log[0]["id"])) == []
    assert await book.pages.open_items_by_state() == {"pending": 15}
    assert [it["id"] for it in await book.pages.runs(Page(2))] == [3, 2]


async def test_profiles_are_named_by_id_handle_or_platform_and_handle(book: Book):
    await a_client(book, "acme")
    await a_client(book, "birch")
    rows = [profile("acme", "ada"), profile("acme", "ada", platform="x"), profile("birch", "bob")]
    await book.profiles.put([*rows, *(profile("acme", f"p{n}") for n in range(2500))])

    assert await book.profiles.named("acme", ["ada"]) == [1, 2]
    assert await book.profiles.named("acme", ["x/ada", 1]) == [1, 2]
    assert await book.profiles.named("acme", ["x/ada", "x/ada"]) == [2]
    assert len(await book.profiles.named("acme", [f"p{n}" for n in range(2500)])) == 2500
    for name in ("bob", 3, "y/ada", "1"):
        with pytest.raises(NotFound, match="Client 'acme' has no profile"):
            await book.profiles.named("acme", [name])
