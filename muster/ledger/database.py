"""One database, SQLite or PostgreSQL: its connections, its transactions and its clock.

SQLite runs in WAL mode with `synchronous=FULL`: what is committed survives the loss of power, not only of the process.
Writers begin IMMEDIATE, because a deferred one fails as locked whatever the time-out; reads need no lock.
"""

import asyncio
import functools
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

from sqlalchemy import ColumnElement, Executable, Table, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from muster.errors import Unreachable
from muster.ledger.beats import STALE_AFTER
from muster.ledger.connections import engine_for
from muster.ledger.trouble import ASYNCPG, cause_of, passes, waited_for_lock

PATIENCE_S: Final = 150  # a database that restarts is waited for
# A process that was frozen while it sent a statement is neither idle nor waiting to PostgreSQL: others have to end it.
END_FROZEN: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND application_name = 'muster'"
    " AND state = 'active' AND wait_event = 'ClientRead' AND clock_timestamp() - state_change > interval '5 seconds'"
)
WRITERS: Final = 8  # at a time, the others in line: a writer may need one or two connections more, to read beside

Row = Mapping[str, Any]
T = TypeVar("T")
P = ParamSpec("P")


class Tx:
    """One open transaction (or a reading connection), with the database's own clock."""

    def __init__(
        self,
        connection: AsyncConnection,
        clock: Callable[[], datetime] | None,
        stale_after: timedelta,
        *,
        is_retry: bool = False,
        waited_s: float = 0.0,
    ) -> None:
        self.stale_after = stale_after
        self.waited_s = waited_s  # for the one lock of a database that has but one
        self.is_retry = is_retry  # an earlier attempt at the same transaction may have been committed unheard
        self._connection = connection
        self._clock = clock
        self._postgres = connection.dialect.name == "postgresql"

    async def now(self) -> datetime:
        """The database's time at this moment, not at the start of the transaction, in UTC."""
        if self._clock is not None:
            return self._clock()
        if not self._postgres:  # SQLite is this very machine
            return datetime.now(UTC)
        moment: datetime = (await self._connection.execute(select(func.clock_timestamp()))).scalar_one()
        return moment.astimezone(UTC)

    async def rows(self, statement: Executable, params: Any = None) -> Sequence[Row]:
        """All rows that a statement gives."""
        return cast("Sequence[Row]", (await self._connection.execute(statement, params)).mappings().all())

    async def row(self, statement: Executable, params: Any = None) -> Row | None:
        """The first row, if there is one."""
        return cast("Row | None", (await self._connection.execute(statement, params)).mappings().first())

    async def value(self, statement: Executable, params: Any = None) -> Any:
        """The first column of the first row, or None."""
        return (await self._connection.execute(statement, params)).scalar()

    async def run(
        self, statement: Executable, params: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> int:
        """Execute a statement, once or for each set of parameters; the number of rows it moved."""
        return (await self._connection.execute(statement, params)).rowcount

    async def stream(self, statement: Executable) -> AsyncGenerator[Row, None]:
        """The rows of a statement, one at a time, none kept."""
        async with self._connection.stream(statement) as result:
            async for row in result.mappings():
                yield cast("Row", row)

    def seconds(self, start: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[Any]:
        """The seconds between two columns, as an expression."""
        if self._postgres:
            return func.extract("epoch", end - start)
        return (func.julianday(end) - func.julianday(start)) * 86400.0

    def insert(self, table: Table) -> "postgresql.Insert | sqlite.Insert":
        """An INSERT of this database's own dialect, which knows ON CONFLICT."""
        return postgresql.insert(table) if self._postgres else sqlite.insert(table)


class Database:
    """The ledger's connections; `clock` replaces the database's own in tests."""

    def __init__(
        self, url: str, *, clock: Callable[[], datetime] | None = None, stale_after: timedelta = STALE_AFTER
    ) -> None:
        self.stale_after = stale_after  # whoever was silent so long is dead
        self._clock = clock
        self.engine = engine_for(url, PATIENCE_S)
        self._writers = asyncio.Semaphore(1 if self.engine.dialect.name == "sqlite" else WRITERS)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """A connection for reads, outside every write lock."""
        async with self.engine.connect() as connection:
            yield Tx(connection, self._clock, self.stale_after)

    async def read(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Run `work` on a reading connection; waits for a database that is locked, restarting or gone.

        Raises:
            Unreachable: it stayed so for `PATIENCE_S`.
        """
        return await self._patiently(lambda _: self._read(work))

    async def _read(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        async with self.reading() as tx:
            return await work(tx)

    async def write(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Run `work` in one transaction: all of it or nothing; waits for the database as `read` does.

        `work` may run more than once, so it must not touch anything but the transaction.

        Raises:
            Unreachable: as `read` does.
        """
        return await self._patiently(lambda is_retry: self._write(work, is_retry=is_retry))

    async def _write(self, work: Callable[[Tx], Awaitable[T]], *, is_retry: bool) -> T:
        try:
            before = time.monotonic()
            async with self._writers, self.engine.connect() as plain:
                connection = await plain.execution_options(writes=True)
                async with connection.begin():
                    waited_s = time.monotonic() - before
                    tx = Tx(connection, self._clock, self.stale_after, is_retry=is_retry, waited_s=waited_s)
                    return await work(tx)
        except DBAPIError as trouble:
            if waited_for_lock(trouble):
                await self._read(lambda tx: tx.rows(END_FROZEN))
            raise

    async def _patiently(self, transaction: Callable[[bool], Coroutine[Any, Any, T]]) -> T:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(passes),
                wait=wait_exponential_jitter(multiplier=0.05, max=5),
                stop=stop_after_delay(PATIENCE_S),
                reraise=True,
            ):
                with attempt:
                    return await _to_its_end(transaction(attempt.retry_state.attempt_number > 1))
        except Exception as trouble:
            if passes(trouble):
                said = f"The ledger at {self.place} could not be used for {PATIENCE_S} s: {cause_of(trouble)}."
                raise Unreachable(said) from trouble
            raise
        raise AssertionError("tenacity gives up by raising")

    async def probe(self) -> None:
        """Connect once, without patience.

        Raises:
            Unreachable: the database does not answer, or not to these credentials.
        """
        try:
            async with self.engine.connect() as connection:
                await connection.execute(select(1))
        except (DBAPIError, OSError, TypeError, ValueError, *ASYNCPG) as trouble:  # Type, Value: of unknown arguments
            raise Unreachable(f"The ledger at {self.place} cannot be opened: {cause_of(trouble)}.") from None

    @property
    def place(self) -> str:
        """The address without who opens it and how, for people; a password may hold an `@` of its own."""
        shown = self.engine.url.render_as_string(hide_password=True)
        return re.sub(r"//.*@", "//", shown)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


class HasDatabase(Protocol):
    """A part of the ledger."""

    @property
    def database(self) -> Database: ...  # noqa: D102


S = TypeVar("S", bound=HasDatabase)


def writes(method: Callable[Concatenate[S, Tx, P], Awaitable[T]]) -> Callable[Concatenate[S, P], Awaitable[T]]:
    """Give a method the one transaction it is."""

    @functools.wraps(method)
    async def in_transaction(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.write(lambda tx: method(self, tx, *args, **kwargs))

    return in_transaction


def reads(method: Callable[Concatenate[S, Tx, P], Awaitable[T]]) -> Callable[Concatenate[S, P], Awaitable[T]]:
    """Give a method a reading connection."""

    @functools.wraps(method)
    async def on_connection(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.read(lambda tx: method(self, tx, *args, **kwargs))

    return on_connection


async def _to_its_end(transaction: Coroutine[Any, Any, T]) -> T:
    """Run a transaction; whoever is cancelled meanwhile waits for its end first.

    A connection that is torn down in the middle of a statement leaves aiosqlite waiting for ever, and a commit that
    nobody waits for may or may not have happened.
    """
    task = asyncio.create_task(transaction)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen, so that nobody complains about it
        raise
