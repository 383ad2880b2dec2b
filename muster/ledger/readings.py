"""What people and reports read: batches, items, failures, events; nothing here writes."""

from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import exists, func, select
from sqlalchemy.sql import Select

from muster.errors import NotFound
from muster.ledger import statements as sql
from muster.ledger.database import Database, Row, Tx, reads
from muster.ledger.statements import REMAINING
from muster.ledger.tables import ATTEMPT, BATCH, EVENT, ITEM, RUN, SETTING
from muster.states import OPEN_BATCHES, WORKING_BATCHES, BatchState, ItemState

STOPPED_WITHIN: Final = timedelta(days=7)


class Readings:
    """The ledger as it is read."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    async def now(self, tx: Tx) -> datetime:
        """The database's time."""
        return await tx.now()

    @reads
    async def batch(self, tx: Tx, batch_id: int) -> Row:
        """One batch, with its run's key and what remains.

        Raises:
            NotFound: no such batch.
        """
        row = await tx.row(whole_batches().where(BATCH.c.id == batch_id))
        if row is None:
            raise NotFound(f"There is no batch {batch_id}; `muster batches` lists them.")
        return row

    @reads
    async def batches_of_run(self, tx: Tx, run_id: int) -> Sequence[Row]:
        """A run's batches, by client, in the order in which they are worked."""
        return await tx.rows(whole_batches().where(BATCH.c.run_id == run_id).order_by(BATCH.c.client_id, BATCH.c.id))

    @reads
    async def batches_of_key(self, tx: Tx, run_key: str) -> Sequence[Row]:
        """The batches of the run with that key; none before it is open."""
        return await tx.rows(whole_batches().where(RUN.c.key == run_key).order_by(BATCH.c.client_id, BATCH.c.id))

    @reads
    async def batches_since(self, tx: Tx, since: datetime) -> Sequence[Row]:
        """All batches opened or closed since a moment, and those that are still open, newest first."""
        meant = (BATCH.c.created_at >= since) | (BATCH.c.closed_at >= since) | BATCH.c.state.in_(sorted(OPEN_BATCHES))
        return await tx.rows(whole_batches().where(meant).order_by(BATCH.c.id.desc()))

    @reads
    async def stopped_batches(self, tx: Tx) -> Sequence[Row]:
        """Batches of the last days that were stopped before their end, and wait for a person."""
        since = await tx.now() - STOPPED_WITHIN
        meant = (BATCH.c.created_at >= since, BATCH.c.state == BatchState.FAILED, REMAINING.element > 0)
        return await tx.rows(whole_batches().where(*meant).order_by(BATCH.c.id))

    @reads
    async def clients_at_work(self, tx: Tx, run_id: int) -> list[str]:
        """The clients of a run for whom a driver works, or will as soon as their batch's turn comes."""
        other = BATCH.alias("other").c
        held_up = exists().where(
            other.client_id == BATCH.c.client_id,
            other.workload == BATCH.c.workload,
            other.state == BatchState.PAUSED,
        )
        in_line = (BATCH.c.state == BatchState.QUEUED) & ~BATCH.c.held & ~held_up
        at_work = select(BATCH.c.client_id).where(
            BATCH.c.run_id == run_id, in_line | (BATCH.c.state == BatchState.IN_PROGRESS)
        )
        return [row["client_id"] for row in await tx.rows(at_work.distinct())]

    @reads
    async def suspects(self, tx: Tx, batch_id: int) -> int:
        """How many ready items of a batch brought lanes down before, of upstreams that are called."""
        stopped = await tx.value(select(BATCH.c.stopped).where(BATCH.c.id == batch_id))
        found: int = await tx.value(sql.SUSPECTS, {"batch_id": batch_id, "stopped": sorted(stopped)})
        return found

    @reads
    async def failures(self, tx: Tx, batch_id: int, most: int = 200) -> Sequence[Row]:
        """The failed items of a batch, in the order in which they were planned."""
        failed = select(ITEM).where(ITEM.c.batch_id == batch_id, ITEM.c.state == ItemState.FAILED)
        return await tx.rows(failed.order_by(ITEM.c.seq).limit(most))

    @reads
    async def causes(self, tx: Tx, batch_id: int) -> Sequence[Row]:
        """How many items ended in which state and for which cause: rows of (state, kind, why, n)."""
        why = func.coalesce(ITEM.c.error_kind, ITEM.c.error).label("why")
        counts = select(ITEM.c.state, why, func.count().label("n")).where(ITEM.c.batch_id == batch_id)
        return await tx.rows(counts.group_by(ITEM.c.state, why).order_by(func.count().desc()))

    @reads
    async def slowest(self, tx: Tx, batch_id: int, most: int = 5) -> Sequence[Row]:
        """The closed items whose last attempt took longest: rows of (key, state, seconds)."""
        seconds = tx.seconds(ITEM.c.started_at, ITEM.c.closed_at).label("seconds")
        closed = select(ITEM.c.key, ITEM.c.state, seconds).where(
            ITEM.c.batch_id == batch_id, ITEM.c.started_at.is_not(None), ITEM.c.closed_at.is_not(None)
        )
        return await tx.rows(closed.order_by(seconds.desc()).limit(most))

    @reads
    async def attempts(self, tx: Tx, batch_id: int, most: int = 50) -> Sequence[Row]:
        """The newest attempts of a batch that did not succeed, with their item's key."""
        joined = select(ATTEMPT, ITEM.c.key).join(ITEM, ITEM.c.id == ATTEMPT.c.item_id)
        return await tx.rows(joined.where(ITEM.c.batch_id == batch_id).order_by(ATTEMPT.c.id.desc()).limit(most))

    @reads
    async def events(self, tx: Tx, batch_id: int, most: int = 50) -> Sequence[Row]:
        """The newest lines of a batch's log, newest first."""
        return await tx.rows(select(EVENT).where(EVENT.c.batch_id == batch_id).order_by(EVENT.c.id.desc()).limit(most))

    @reads
    async def newest_batch(self, tx: Tx, key: str, states: Collection[BatchState]) -> Row | None:
        """The newest batch whose key begins so that is in one of some states, or done with items that failed."""
        with_failed = (BATCH.c.state == BatchState.DONE) & (BATCH.c.failed > 0)
        meant = BATCH.c.key.startswith(key, autoescape=True) & (BATCH.c.state.in_(sorted(states)) | with_failed)
        return await tx.row(whole_batches().where(meant).order_by(BATCH.c.id.desc()).limit(1))

    @reads
    async def at_work(self, tx: Tx, client_id: str, workload: str) -> Row | None:
        """The batch of a client and workload that is in progress or paused: there is one at most."""
        mine = (BATCH.c.client_id == client_id, BATCH.c.workload == workload)
        return await tx.row(whole_batches().where(*mine, BATCH.c.state.in_(sorted(WORKING_BATCHES))))

    @reads
    async def running(self, tx: Tx, batch_id: int) -> list[str]:
        """The keys of the items in flight, in the order in which they were planned."""
        running = select(ITEM.c.key).where(ITEM.c.batch_id == batch_id, ITEM.c.state == ItemState.RUNNING)
        return [row["key"] for row in await tx.rows(running.order_by(ITEM.c.seq))]

    @reads
    async def closed(self, tx: Tx, batch_id: int, since: datetime) -> Sequence[Row]:
        """The items of a batch that were closed at or after a moment, in that order."""
        closed = select(ITEM).where(ITEM.c.batch_id == batch_id, ITEM.c.closed_at >= since)
        return await tx.rows(closed.order_by(ITEM.c.closed_at, ITEM.c.seq))

    async def items(self, batch_id: int) -> AsyncGenerator[Row, None]:
        """Every item of a batch, in order, none kept in memory."""
        async with self.database.reading() as tx:
            async for row in tx.stream(select(ITEM).where(ITEM.c.batch_id == batch_id).order_by(ITEM.c.seq)):
                yield row

    @reads
    async def count_by_state(self, tx: Tx, batch_id: int) -> dict[str, int]:
        """How many items are in each state, counted from the rows themselves."""
        counts = select(ITEM.c.state, func.count().label("n")).where(ITEM.c.batch_id == batch_id)
        return {row["state"]: row["n"] for row in await tx.rows(counts.group_by(ITEM.c.state))}

    @reads
    async def setting(self, tx: Tx, key: str) -> str | None:
        """A setting that is kept in the ledger."""
        value: str | None = await tx.value(select(SETTING.c.value).where(SETTING.c.key == key))
        return value


def whole_batches() -> Select[Any]:
    """Batches, each with its run's key and what remains."""
    return select(BATCH, REMAINING, RUN.c.key.label("run_key")).join(RUN, RUN.c.id == BATCH.c.run_id)
