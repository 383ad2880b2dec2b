"""Drivers that pull: which of them live, and which clients each serves, so that no two serve the same."""

import os
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, delete, exists, func, literal, select, update

from muster.errors import LeaseLost
from muster.ledger.beats import is_alive
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.live import DRIVER
from muster.ledger.statements import REMAINING
from muster.ledger.tables import BATCH, CLIENT, PRIORITIES
from muster.states import WORKING_BATCHES, BatchState

SERVED_WITHIN: Final = timedelta(hours=24)  # what a client was served is forgotten after so long


@dataclass(frozen=True, slots=True)
class Turn:
    """A client whose batches of one run are to be worked now."""

    client_id: str
    run_id: int


class Drivers:
    """The drivers' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def enter(self, tx: Tx, driver: str, run_id: int | None = None) -> None:
        """Write the driver down; `run_id` is the only run that it serves. Those that fell silent are forgotten."""
        now = await tx.now()
        dead = [row["id"] for row in await tx.rows(select(DRIVER)) if not is_alive(row["beat_at"], now, tx.stale_after)]
        await tx.run(delete(DRIVER).where(DRIVER.c.id.in_(dead)))
        row = {"id": driver, "host": socket.gethostname(), "pid": os.getpid(), "run_id": run_id, "clients": []}
        await tx.run(tx.insert(DRIVER).on_conflict_do_nothing(), {**row, "beat_at": now})

    @writes
    async def beat(self, tx: Tx, driver: str) -> None:
        """Say that the driver lives.

        Raises:
            LeaseLost: it was silent for so long that it was forgotten.
        """
        if not await tx.run(update(DRIVER).where(DRIVER.c.id == driver).values(beat_at=await tx.now())):
            raise LeaseLost(f"Driver {driver} was silent, and others serve its clients.")

    @writes
    async def leave(self, tx: Tx, driver: str) -> None:
        """Forget the driver."""
        await tx.run(delete(DRIVER).where(DRIVER.c.id == driver))

    @writes
    async def pick(
        self,
        tx: Tx,
        driver: str,
        but_not: Collection[Turn] = (),
        *,
        wary: Collection[Turn] = (),
        serving: Collection[str] | None = None,
    ) -> Turn | None:
        """Take the client with a queued batch that was served least for its weight; None if there is none.

        `serving` are the clients that the driver does serve, whatever an unheard pick may have added to them. A client
        that another living driver serves, and a batch that waits for another one of its client and workload, are
        passed over, as are the turns of `but_not`, and those of `wary` whose batches were in vain the last time.

        Raises:
            LeaseLost: the driver was forgotten.
        """
        now = await tx.now()
        drivers = await tx.rows(select(DRIVER).order_by(DRIVER.c.id).with_for_update())
        me = next((it for it in drivers if it["id"] == driver), None)
        if me is None:
            raise LeaseLost(f"Driver {driver} was silent, and others serve its clients.")
        mine = list(me["clients"] if serving is None else serving)
        others = [it for it in drivers if it is not me and is_alive(it["beat_at"], now, tx.stale_after)]
        served = {*mine, *(client for it in others for client in it["clients"])}
        for row in await tx.rows(queued_turns(now, me["run_id"])):
            turn = Turn(row["client_id"], row["run_id"])
            in_vain = turn in wary and not row["fresh"]
            if turn.client_id not in served and turn not in but_not and not in_vain:
                await _serve(tx, me, [*mine, turn.client_id])
                return turn
        return None

    @writes
    async def put_back(self, tx: Tx, driver: str, client_id: str) -> None:
        """End a client's turn."""
        me = await tx.row(select(DRIVER).where(DRIVER.c.id == driver).with_for_update())
        if me is not None:
            await _serve(tx, me, [it for it in me["clients"] if it != client_id])

    @reads
    async def alive(self, tx: Tx) -> Sequence[Row]:
        """The drivers that live."""
        now = await tx.now()
        rows = await tx.rows(select(DRIVER).order_by(DRIVER.c.id))
        return [row for row in rows if is_alive(row["beat_at"], now, tx.stale_after)]


async def _serve(tx: Tx, me: Row, clients: Sequence[str]) -> None:
    await tx.run(update(DRIVER).where(DRIVER.c.id == me["id"]).values(clients=list(clients)))


def _level(now: datetime) -> ColumnElement[int]:
    """A batch's priority, one level better for each hour that it has waited."""
    hours = range(1, max(PRIORITIES))
    aged = sum((case((BATCH.c.created_at <= now - timedelta(hours=it), 1), else_=0) for it in hours), literal(0))
    return case((BATCH.c.priority - aged < min(PRIORITIES), min(PRIORITIES)), else_=BATCH.c.priority - aged)


def queued_turns(now: datetime, run_id: int | None) -> Select[Any]:
    """The turns that may be taken: by priority, then the client served least for its weight, then the oldest batch."""
    other = BATCH.alias("other").c
    blocked = exists().where(
        other.client_id == BATCH.c.client_id,
        other.workload == BATCH.c.workload,
        other.state.in_(sorted(WORKING_BATCHES)),
    )
    served = (
        select(BATCH.c.client_id, func.sum(BATCH.c.total - REMAINING.element).label("closed"))
        .where(BATCH.c.created_at >= now - SERVED_WITHIN)
        .group_by(BATCH.c.client_id)
        .subquery()
    )
    turns = (
        select(
            BATCH.c.client_id,
            BATCH.c.run_id,
            func.min(BATCH.c.id).label("oldest"),
            func.count().filter(BATCH.c.fruitless == 0).label("fresh"),
            func.min(_level(now)).label("level"),
        )
        .where(BATCH.c.state == BatchState.QUEUED, ~BATCH.c.held, ~blocked)
        .group_by(BATCH.c.client_id, BATCH.c.run_id)
    )
    if run_id is not None:
        turns = turns.where(BATCH.c.run_id == run_id)
    queued = turns.subquery()
    return (
        select(queued)
        .join(CLIENT, CLIENT.c.id == queued.c.client_id)
        .outerjoin(served, served.c.client_id == queued.c.client_id)
        .order_by(queued.c.level, func.coalesce(served.c.closed, 0) / CLIENT.c.weight, queued.c.oldest)
    )
