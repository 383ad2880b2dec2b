"""A transaction happens whole or not at all, whoever is cancelled or gone meanwhile."""

import asyncio

from muster.ledger import Book
from tests.factories import a_lease


async def test_whoever_is_cancelled_in_a_transaction_waits_for_its_end(book: Book):
    lease = await a_lease(book, 1)
    beats = [asyncio.ensure_future(book.lanes.beat(lease, "one")) for _ in range(20)]
    await asyncio.sleep(0.005)

    for beat in beats:
        beat.cancel()
        beat.cancel()
    async with asyncio.timeout(10):
        ended = await asyncio.gather(*beats, return_exceptions=True)

    assert any(isinstance(it, asyncio.CancelledError) for it in ended)
    assert (await book.lanes.beat(lease, "one")).remaining == 1


async def test_what_a_cancelled_transaction_had_begun_is_committed_or_not_there(book: Book):
    for number in range(10):
        put = asyncio.ensure_future(book.clients.put([{"id": f"c{number}a"}, {"id": f"c{number}b"}]))
        await asyncio.sleep(0.001 * number)
        put.cancel()
        await asyncio.wait({put})

    found = {client.id for client in await book.clients.all()}

    assert {it[:-1] for it in found if it.endswith("a")} == {it[:-1] for it in found if it.endswith("b")}
