"""What a person orders of a batch: pause, resume, cancel, redrive; each says which states allow it and is one move."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select, update

from muster.errors import Busy, NotFound, WrongState
from muster.ledger import statements as sql
from muster.ledger.allotments import settle_charges
from muster.ledger.beats import is_alive
from muster.ledger.database import Database, Row, Tx, writes
from muster.ledger.journal import log
from muster.ledger.opening import deadline_of, latest_end
from muster.ledger.returns import give_back_crashed, lanes_of, silent_lanes
from muster.ledger.standing import lock_any_batch, move_batch
from muster.ledger.tables import BATCH, ITEM, RUN
from muster.limits import Limits
from muster.states import BatchState, ItemState, RunState

_B: Final = BatchState
MAY_START: Final = (_B.QUEUED,)
MAY_GO_ON: Final = (_B.QUEUED, _B.IN_PROGRESS)  # in progress: its driver is silent
MAY_PAUSE: Final = (_B.IN_PROGRESS,)
MAY_RESUME: Final = (_B.PAUSED, _B.FAILED)
MAY_CANCEL: Final = (_B.QUEUED, _B.IN_PROGRESS, _B.PAUSED, _B.FAILED)
MAY_REDRIVE: Final = (_B.DONE, _B.FAILED)
HINTS: Final = {
    ("resumed", _B.DONE): " To open failed items again: muster redrive {}",
    ("resumed", _B.QUEUED): " A driver takes it by itself; to be one: muster reconcile",
    ("redriven", _B.PAUSED): " To go on with it: muster resume {}",
    (_B.PAUSED, _B.QUEUED): " To keep it from being begun: muster cancel {}",
}


class Orders:
    """The orders' pages of the ledger; a batch in the wrong state is left as it is."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def pause(self, tx: Tx, batch_id: int) -> None:
        """Begin no more calls; what is in flight finishes and is recorded.

        Raises:
            NotFound: no such batch.
            WrongState: it is not in progress.
        """
        batch = await lock_any_batch(tx, batch_id)
        _check(batch, _B.PAUSED, MAY_PAUSE)
        await move_batch(tx, batch, _B.PAUSED, "paused by hand", await tx.now())

    @writes
    async def let_go(self, tx: Tx, batch_id: int) -> None:
        """Let a held batch wait in line with the others; its deadline counts from now. One in line stays there.

        Raises:
            NotFound: no such batch.
            WrongState: it is not queued.
        """
        batch = await lock_any_batch(tx, batch_id)
        _check(batch, "put in line", MAY_START)
        if batch["held"]:
            now = await tx.now()
            until = latest_end(batch["limits"], now)
            await tx.run(update(BATCH).where(BATCH.c.id == batch_id).values(held=False, deadline_at=until))
            await log(tx, batch_id, now, "batch.started", "Started by hand: it waits in line.")

    @writes
    async def resume(self, tx: Tx, batch_id: int) -> BatchState:
        """Let a paused or failed batch go on where it stood, with a deadline of its own; the state it is in now.

        A paused batch whose driver has not gone yet is in progress again at once, any other is queued. What is queued
        with upstreams that are called no more calls them again.

        Raises:
            NotFound: no such batch.
            WrongState: it is neither paused nor failed.
        """
        batch = await lock_any_batch(tx, batch_id)
        now = await tx.now()
        if batch["state"] == _B.QUEUED and batch["stopped"]:
            await _begin_anew(tx, batch, now)
            named = ", ".join(sorted(batch["stopped"]))
            await log(tx, batch_id, now, "batch.resumed", f"Resumed by hand: {named} may be called again.")
            return _B.QUEUED
        _check(batch, "resumed", MAY_RESUME)
        if batch["state"] == _B.PAUSED and is_alive(batch["beat_at"], now, tx.stale_after):
            await _begin_anew(tx, batch, now)
            return await move_batch(tx, batch, _B.IN_PROGRESS, None, now)
        return await queue_again(tx, batch, now)

    @writes
    async def cancel(self, tx: Tx, batch_id: int) -> int:
        """End the batch now: every open item is `cancelled`, its driver is fenced off; how many items that were.

        Raises:
            NotFound: no such batch.
            WrongState: it is done or cancelled.
        """
        batch = await lock_any_batch(tx, batch_id)
        now = await tx.now()
        _check(batch, _B.CANCELLED, MAY_CANCEL)
        lanes = await lanes_of(tx, batch_id)
        await settle_charges(tx, lanes)
        cancelled = await tx.run(sql.CANCEL_ITEMS, {"of_batch": batch_id, "now": now})
        await tx.run(sql.COUNT, {"batch_id": batch_id, **sql.NO_COUNTS, "more_cancelled": cancelled})
        await tx.run(sql.DROP_LANES, {"lanes": lanes})
        await tx.run(sql.FENCE_OFF, {"batch_id": batch_id})
        await move_batch(tx, batch, _B.CANCELLED, "cancelled by hand", now)
        return cancelled

    @writes
    async def redrive(self, tx: Tx, batch_id: int, kinds: Sequence[str] = (), since: datetime | None = None) -> int:
        """Open failed items again, with fresh tries, and queue the batch; how many items that are.

        `kinds` and `since` narrow it to causes and to items that failed at or after a moment. What succeeded is not
        repeated, and the history of attempts stays.

        Raises:
            NotFound: no such batch, or no failed item that is meant.
            WrongState: it is neither done nor failed.
        """
        batch = await lock_any_batch(tx, batch_id)
        now = await tx.now()
        _check(batch, "redriven", MAY_REDRIVE)
        failed = [ITEM.c.batch_id == batch_id, ITEM.c.state == ItemState.FAILED]
        meant = [*failed, *([ITEM.c.error_kind.in_(kinds)] if kinds else [])]
        meant += [ITEM.c.closed_at >= since] if since else []
        opened = await tx.run(update(ITEM).where(*meant).values(_reopened(now)))
        if not opened:
            raise NotFound(await _none_meant(tx, batch, failed))
        await queue_again(tx, batch, now)
        await tx.run(sql.COUNT, {"batch_id": batch_id, **sql.NO_COUNTS, "more_failed": -opened})
        await log(tx, batch_id, now, "batch.redriven", f"Failed items opened again by hand: {opened}.")
        return opened

    @writes
    async def go_on(self, tx: Tx, batch_id: int, limits: Mapping[str, Any]) -> int | None:
        """Let a batch go on whose driver has gone or is silent, its failed items opened again; how many these are.

        Some of its limits may be changed, those that say how it is worked. What succeeded is not repeated. One that a
        living driver works is left to it: None.

        Raises:
            NotFound: no such batch, or nothing of it is open or failed.
            Busy: calls of it are still in flight.
            WrongState: it was cancelled.
        """
        batch = await lock_any_batch(tx, batch_id)
        now = await tx.now()
        if batch["state"] == _B.IN_PROGRESS and is_alive(batch["beat_at"], now, tx.stale_after):
            return None
        _check(batch, "resumed", (*MAY_GO_ON, *MAY_RESUME, *MAY_REDRIVE))
        if batch["remaining"] == batch["failed"] == 0:
            raise NotFound(f"There is nothing to resume: batch {batch_id} is done, and none of its items failed.")
        failed = ITEM.c.batch_id == batch_id, ITEM.c.state == ItemState.FAILED
        opened = await tx.run(update(ITEM).where(*failed).values(_reopened(now)))
        changed = Limits.model_validate({**batch["limits"], **limits}).model_dump(mode="json")
        await tx.run(update(BATCH).where(BATCH.c.id == batch_id).values(limits=changed))
        if batch["state"] == _B.QUEUED:
            await _begin_anew(tx, batch, now)
        else:
            await queue_again(tx, batch, now)
        await tx.run(sql.COUNT, {"batch_id": batch_id, **sql.NO_COUNTS, "more_failed": -opened})
        said = f"Goes on by hand; failed items opened again: {opened}."
        await log(tx, batch_id, now, "batch.resumed", said, data=dict(limits))
        return opened


_FRESH: Final = {
    "state": ItemState.PENDING,
    "tries": 0,
    "crashes": 0,
    "closed_at": None,
    "error_kind": None,
    "error": None,
}


def _reopened(now: datetime) -> dict[str, Any]:
    return {**_FRESH, "redrives": ITEM.c.redrives + 1, "due_at": now}


def _check(batch: Row, order: str, states: Sequence[BatchState]) -> None:
    if batch["state"] not in states:
        allowed = ", ".join(states).replace("_", " ")
        allowed = " or ".join(allowed.rsplit(", ", 1))
        state = str(batch["state"]).replace("_", " ")
        hint = HINTS.get((order, batch["state"]), "").format(batch["id"])
        raise WrongState(f"Batch {batch['id']} is {state}; only a batch that is {allowed} can be {order}.{hint}")


async def queue_again(tx: Tx, batch: Row, now: datetime) -> BatchState:
    """Queue the batch with nothing left running, and let its run go on."""
    await _check_quiet(tx, batch, now)
    await give_back_crashed(tx, batch, await lanes_of(tx, batch["id"]), now, seen=False)
    await tx.run(sql.FENCE_OFF, {"batch_id": batch["id"]})
    await _begin_anew(tx, batch, now)
    return await move_batch(tx, batch, _B.QUEUED, None, now)


async def _check_quiet(tx: Tx, batch: Row, now: datetime) -> None:
    """Refuse to begin again what living lanes are still finishing: it would be called for twice."""
    silent = await silent_lanes(tx, batch["id"], now)
    running = (ITEM.c.batch_id == batch["id"], ITEM.c.state == ItemState.RUNNING, ITEM.c.lane.not_in(silent))
    in_flight = await tx.value(select(func.count()).select_from(ITEM).where(*running))
    if in_flight:
        said = f"{in_flight} of its calls are still in flight; they are recorded as they end"
        raise Busy(f"Batch {batch['id']} is {batch['state']}, and {said}. Try again in a moment.")


async def _begin_anew(tx: Tx, batch: Row, now: datetime) -> None:
    """A new deadline, no upstream stopped, no driver that got nowhere; its run is open again."""
    fresh = {"deadline_at": deadline_of(batch["limits"], now), "stopped": {}, "fruitless": 0, "held": False}
    await tx.run(update(BATCH).where(BATCH.c.id == batch["id"]).values(fresh))
    again = {"state": RunState.RUNNING, "finished_at": None, "error": None, "certificate": None, "result": None}
    await tx.run(update(RUN).where(RUN.c.id == batch["run_id"]).values(again))


async def _none_meant(tx: Tx, batch: Row, failed: Sequence[ColumnElement[bool]]) -> str:
    counts = select(ITEM.c.error_kind, func.count().label("n")).where(*failed).group_by(ITEM.c.error_kind)
    there = ", ".join(f"{row['n']} {row['error_kind']}" for row in await tx.rows(counts.order_by(ITEM.c.error_kind)))
    return f"Batch {batch['id']} has no such failed item; " + (
        f"there are: {there}." if there else "it has none at all."
    )
