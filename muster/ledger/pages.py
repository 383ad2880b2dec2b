"""The ledger a page at a time, for callers who come back for the next one; nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select

from muster.ledger.database import Database, Row, Tx, reads
from muster.ledger.journal import Level
from muster.ledger.readings import whole_batches
from muster.ledger.tables import BATCH, EVENT, ITEM, RUN
from muster.states import OPEN_BATCHES, BatchState, ItemState


@dataclass(frozen=True, slots=True)
class Page:
    """How many rows are wanted, and the cursor after which they come: what stood last on the page before."""

    most: int
    after: int | None = None


@dataclass(frozen=True, slots=True)
class WhichBatches:
    """Which batches are wanted; what is None may be anything."""

    client: str | None = None
    workload: str | None = None
    state: BatchState | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class WhichEvents:
    """Which lines of a batch's log are wanted; what is None may be anything."""

    start: datetime | None = None
    end: datetime | None = None
    level: Level | None = None


class Pages:
    """The pages that are read one by one."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    async def batches(self, tx: Tx, which: WhichBatches, page: Page) -> Sequence[Row]:
        """Batches with what remains of each, newest first."""
        meant = [
            *([BATCH.c.client_id == which.client] if which.client is not None else []),
            *([BATCH.c.workload == which.workload] if which.workload is not None else []),
            *([BATCH.c.state == which.state] if which.state is not None else []),
            *([BATCH.c.created_at >= which.since] if which.since is not None else []),
            *_below(BATCH.c.id, page),
        ]
        return await tx.rows(whole_batches().where(*meant).order_by(BATCH.c.id.desc()).limit(page.most))

    @reads
    async def items(self, tx: Tx, batch_id: int, state: ItemState | None, page: Page) -> Sequence[Row]:
        """Items of a batch, in the order in which they were planned."""
        meant = [ITEM.c.batch_id == batch_id, *([ITEM.c.state == state] if state is not None else [])]
        meant += [ITEM.c.seq > page.after] if page.after is not None else []
        return await tx.rows(select(ITEM).where(*meant).order_by(ITEM.c.seq).limit(page.most))

    @reads
    async def events(self, tx: Tx, batch_id: int, which: WhichEvents, page: Page) -> Sequence[Row]:
        """Lines of a batch's log, newest first."""
        meant = [
            EVENT.c.batch_id == batch_id,
            *([EVENT.c.at >= which.start] if which.start is not None else []),
            *([EVENT.c.at < which.end] if which.end is not None else []),
            *([EVENT.c.level == which.level] if which.level is not None else []),
            *_below(EVENT.c.id, page),
        ]
        return await tx.rows(select(EVENT).where(*meant).order_by(EVENT.c.id.desc()).limit(page.most))

    @reads
    async def new_events(self, tx: Tx, batch_id: int, page: Page) -> Sequence[Row]:
        """The lines of a batch's log that came after one of them, oldest first."""
        newer = (EVENT.c.batch_id == batch_id, EVENT.c.id > (page.after or 0))
        return await tx.rows(select(EVENT).where(*newer).order_by(EVENT.c.id).limit(page.most))

    @reads
    async def newest_event(self, tx: Tx, batch_id: int) -> int | None:
        """The number of the newest line of a batch's log."""
        newest: int | None = await tx.value(select(func.max(EVENT.c.id)).where(EVENT.c.batch_id == batch_id))
        return newest

    @reads
    async def runs(self, tx: Tx, page: Page) -> Sequence[Row]:
        """Runs, newest first; those that only watch are runs too."""
        return await tx.rows(select(RUN).where(*_below(RUN.c.id, page)).order_by(RUN.c.id.desc()).limit(page.most))

    @reads
    async def batches_by_state(self, tx: Tx) -> dict[str, int]:
        """How many batches are in each state."""
        counts = select(BATCH.c.state, func.count().label("n")).group_by(BATCH.c.state)
        return {row["state"]: row["n"] for row in await tx.rows(counts)}

    @reads
    async def open_items_by_state(self, tx: Tx) -> dict[str, int]:
        """How many items of open batches are in each state."""
        still_open = BATCH.c.state.in_(sorted(OPEN_BATCHES))
        counts = select(ITEM.c.state, func.count().label("n")).join(BATCH, BATCH.c.id == ITEM.c.batch_id)
        return {row["state"]: row["n"] for row in await tx.rows(counts.where(still_open).group_by(ITEM.c.state))}


def _below(column: ColumnElement[int], page: Page) -> list[ColumnElement[bool]]:
    return [] if page.after is None else [column < page.after]
