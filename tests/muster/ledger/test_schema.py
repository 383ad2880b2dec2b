"""The migrations build what the tables say, and the database keeps the rules by itself."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, update
from sqlalchemy.exc import IntegrityError

from muster.errors import ConfigurationError, Unreachable
from muster.ledger import Book
from muster.ledger.columns import Base
from muster.ledger.domain import POST, PROFILE
from muster.ledger.schema import head, revision
from muster.ledger.tables import BATCH, ITEM
from muster.states import BatchState, ItemState
from tests.factories import a_batch, a_client


async def test_the_migrations_build_the_tables(book: Book):
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        return [it for it in compare_metadata(context, Base.metadata) if "alembic" not in str(it)]

    async with book.database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_an_upgrade_may_be_run_again(book: Book):
    assert await book.upgrade() == head() == await revision(book.database)


async def test_an_older_schema_is_refused_with_the_way_out(database_url: str):
    async with Book(database_url) as book:
        with pytest.raises(ConfigurationError, match="muster db upgrade"):
            await book.prepare(upgrade=False)
        await book.prepare(upgrade=True)
        await book.prepare(upgrade=False)


async def test_a_database_that_does_not_answer_is_named_without_its_password():
    async with Book("postgresql+asyncpg://user:topsecret@127.0.0.1:1/none") as book:
        with pytest.raises(Unreachable) as unreachable:
            await book.prepare(upgrade=False)

    assert "127.0.0.1:1" in str(unreachable.value)
    assert "topsecret" not in str(unreachable.value)


async def breaks(book: Book, table: object, **values: object) -> bool:
    async def write(tx: object) -> None:
        await tx.run(update(table).values(**values))  # type: ignore[attr-defined, arg-type]

    try:
        await book.database.write(write)
    except IntegrityError:
        return True
    return False


@pytest.mark.parametrize(
    "values",
    [
        {"state": "finished"},
        {"state": ItemState.SUCCEEDED},  # without its time of closing
        {"state": ItemState.RUNNING},  # without its lane
        {"lane": "one"},  # without running
        {"tries": -1},
    ],
)
async def test_an_item_cannot_break_its_rules(book: Book, values: dict[str, object]):
    await a_batch(book, 1)

    assert await breaks(book, ITEM, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"state": "finished"},
        {"state": BatchState.CANCELLED},  # without its time of closing
        {"succeeded": 6},  # of five
        {"failed": -1},
        {"target": 3, "gained": 2, "reserved": 2},
        {"reserved": -1},
    ],
)
async def test_a_batch_cannot_break_its_rules(book: Book, values: dict[str, object]):
    await a_batch(book, 5)

    assert await breaks(book, BATCH, **values)


async def test_a_client_has_one_working_batch_of_a_workload(book: Book):
    first, second = await a_batch(book, key="a"), await a_batch(book, key="b")
    await book.batches.take(first, "me")

    with pytest.raises(Exception, match=f"Batch {second} waits"):
        await book.batches.take(second, "me")


async def test_a_post_is_kept_once(book: Book):
    await a_client(book)
    await book.profiles.put([{"client_id": "acme", "platform": "x", "handle": "a", "url": None, "data": {}}])

    async def write(tx: object) -> None:
        for _ in range(2):
            (row,) = await tx.rows(PROFILE.select())  # type: ignore[attr-defined]
            post = {"profile_id": row["id"], "external_id": "1", "data": {}, "found_at": await tx.now()}  # type: ignore[attr-defined]
            await tx.run(insert(POST), post)  # type: ignore[attr-defined]

    with pytest.raises(IntegrityError):
        await book.database.write(write)
