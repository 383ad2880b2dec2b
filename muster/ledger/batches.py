"""A batch's life in the ledger: opened, taken, beaten for, given up, closed; each move one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from muster.errors import Busy, LeaseLost, NotFound, WrongState
from muster.ledger import statements as sql
from muster.ledger.database import Database, Row, Tx, writes
from muster.ledger.journal import Level, log
from muster.ledger.lease import Lease
from muster.ledger.opening import NewBatch, Plan, batch_row, chunks, item_row
from muster.ledger.returns import give_back_items
from muster.ledger.tables import BATCH, ITEM
from muster.states import CLOSED_BATCHES, WORKING_BATCHES, BatchState, ItemState, sources

STALE_AFTER: Final = timedelta(seconds=20)  # a driver or lane that was silent so long is dead


@dataclass(frozen=True, slots=True)
class Standing:
    """How a batch stands, as a transaction saw it."""

    state: BatchState
    remaining: int
    stopped: Mapping[str, str]
    next_due_s: float | None = None  # seconds until a waiting item is due

    @property
    def is_workable(self) -> bool:
        """Whether a lane still has something to wait for."""
        return self.state is BatchState.IN_PROGRESS and self.remaining > 0


class Batches:
    """The batches' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def open(self, tx: Tx, new: NewBatch, plan: Plan) -> tuple[int, bool]:
        """Open a batch under its key and stream its items in; the second time it is only found.

        Returns the batch's id and whether it is new. At most `terms.items` items are taken from the plan.
        """
        now = await tx.now()
        batch_id = await tx.value(
            tx.insert(BATCH).values(batch_row(new, now)).on_conflict_do_nothing().returning(BATCH.c.id)
        )
        if batch_id is None:
            return await tx.value(select(BATCH.c.id).where(BATCH.c.key == new.key)), False
        total, upstreams = 0, set[str]()
        async for chunk in chunks(plan(), new.terms.items):
            rows = [item_row(batch_id, total + at, item, now) for at, item in enumerate(chunk)]
            await tx.run(tx.insert(ITEM), rows)
            total += len(rows)
            upstreams.update(item.upstream for item in chunk)
        planned = {"total": total, "upstreams": sorted(upstreams)}
        await tx.run(update(BATCH).where(BATCH.c.id == batch_id).values(**planned))
        await log(tx, batch_id, now, "batch.queued", f"Queued with {total} items.", data=planned)
        return batch_id, True

    async def take(self, batch_id: int, driver: str) -> Lease:
        """Win the batch's lease; what an earlier driver left running is given back.

        Raises:
            NotFound: no such batch.
            Busy: a living driver works it, or another batch of the same client and workload.
            WrongState: it is closed or paused.
        """
        try:
            return await self._take(batch_id, driver)
        except IntegrityError as clash:
            if "batch" not in str(clash.orig):
                raise
            raise Busy(
                f"Batch {batch_id} waits: its client has another batch of this workload in progress or paused."
            ) from None

    @writes
    async def _take(self, tx: Tx, batch_id: int, driver: str) -> Lease:
        batch = await _lock_any(tx, batch_id)
        now = await tx.now()
        _check_free(batch, now)
        await _clear_the_way(tx, batch, now)
        returned = await tx.run(sql.RETURN_ITEMS, {"of_batch": batch_id})
        await tx.run(sql.DROP_LANES_OF_BATCH, {"of_batch": batch_id})
        epoch = await tx.value(sql.TAKE_BATCH, {"batch_id": batch_id, "by": driver, "now": now})
        lease = Lease(batch_id, epoch)
        said = {"driver": driver, "epoch": epoch, "returned": returned}
        await log(tx, batch_id, now, "batch.taken", f"Taken by {driver}; {returned} items given back.", data=said)
        batch = await lock_batch(tx, lease)
        await end_if_over(tx, batch, batch, {}, now)
        return lease

    @writes
    async def beat(self, tx: Tx, lease: Lease) -> Standing:
        """Say that the driver lives, and give back the items of lanes that fell silent.

        Raises:
            LeaseLost: another driver has the batch.
        """
        batch = await lock_batch(tx, lease)
        now = await tx.now()
        if batch["state"] == BatchState.IN_PROGRESS:
            await tx.run(sql.BEAT_BATCH, {"batch_id": lease.batch_id, "now": now})
        silent = await tx.rows(sql.SILENT_LANES, {"batch_id": lease.batch_id, "before": now - STALE_AFTER})
        if silent:
            lanes = [row["id"] for row in silent]
            returned = await give_back_items(tx, lease.batch_id, lanes)
            message = f"{len(lanes)} lanes fell silent; {returned} items given back."
            await log(tx, lease.batch_id, now, "lane.silent", message, level=Level.WARNING, data={"lanes": lanes})
            return await end_if_over(tx, batch, batch, {}, now)
        return standing_of(batch)

    @writes
    async def release(self, tx: Tx, lease: Lease, reason: str) -> None:
        """Give the batch up cleanly: back to `queued`, nothing left running.

        Raises:
            LeaseLost: another driver has the batch.
        """
        batch = await lock_batch(tx, lease)
        if batch["state"] == BatchState.IN_PROGRESS:
            await tx.run(sql.RETURN_ITEMS, {"of_batch": lease.batch_id})
            await tx.run(sql.DROP_LANES_OF_BATCH, {"of_batch": lease.batch_id})
            await tx.run(sql.RESERVE, {"batch_id": lease.batch_id, "reserves": -batch["reserved"]})
            await _move(tx, batch, BatchState.QUEUED, reason, await tx.now())

    @writes
    async def resume(self, tx: Tx, batch_id: int) -> None:
        """Queue a failed batch again: its open items go on where they stood.

        Raises:
            NotFound: no such batch.
            WrongState: it is not failed.
        """
        batch = await _lock_any(tx, batch_id)
        if batch["state"] != BatchState.FAILED:
            raise WrongState(f"Batch {batch_id} is {batch['state']}; only a failed batch can be resumed.")
        await tx.run(update(BATCH).where(BATCH.c.id == batch_id).values(stopped={}))
        await _move(tx, batch, BatchState.QUEUED, None, await tx.now())


async def lock_batch(tx: Tx, lease: Lease) -> Row:
    """The fence of every write: lock the batch at the lease's epoch.

    Raises:
        LeaseLost: the batch has a newer epoch.
    """
    batch = await tx.row(sql.LOCK_BATCH, {"batch_id": lease.batch_id, "epoch": lease.epoch})
    if batch is None:
        raise LeaseLost(f"Another driver took batch {lease.batch_id}.")
    return batch


async def end_if_over(tx: Tx, batch: Row, counts: Row, stopped: Mapping[str, str], now: datetime) -> Standing:
    """Close the batch in this transaction if nothing is left to do: exactly once, by whoever settles last.

    `counts` are the counters as they are now. A batch whose target is reached skips what is open; one that can only
    call stopped upstreams ends `failed` with the reason, its items open.
    """
    remaining, all_stopped = counts["remaining"], {**batch["stopped"], **stopped}
    if counts["target"] is not None and counts["gained"] >= counts["target"] and remaining:
        remaining -= await _skip_open(tx, batch["id"], now)
    if all_stopped != batch["stopped"]:
        await tx.run(update(BATCH).where(BATCH.c.id == batch["id"]).values(stopped=all_stopped))
        for name, why in stopped.items():
            await log(tx, batch["id"], now, "upstream.stopped", f"No more calls to {name}: {why}", level=Level.ERROR)
    state = BatchState(batch["state"])
    if state not in WORKING_BATCHES:
        return Standing(state, remaining, all_stopped)
    if remaining == 0:
        state = await _move(tx, batch, BatchState.DONE, None, now)
    elif (
        state is BatchState.IN_PROGRESS
        and all_stopped
        and not await tx.row(sql.OTHER_OPEN_ITEM, {"batch_id": batch["id"], "stopped": sorted(all_stopped)})
    ):
        state = await _move(tx, batch, BatchState.FAILED, " ".join(all_stopped.values()), now)
    return Standing(state, remaining, all_stopped)


def standing_of(batch: Row, next_due_s: float | None = None) -> Standing:
    """The standing of a batch row."""
    return Standing(BatchState(batch["state"]), batch["remaining"], batch["stopped"], next_due_s)


async def _lock_any(tx: Tx, batch_id: int) -> Row:
    batch = await tx.row(sql.LOCK_ANY_BATCH, {"batch_id": batch_id})
    if batch is None:
        raise NotFound(f"There is no batch {batch_id}; `muster batches` lists them.")
    return batch


def _check_free(batch: Row, now: datetime) -> None:
    state = BatchState(batch["state"])
    if state is BatchState.IN_PROGRESS and batch["beat_at"] is not None:
        silent = now - batch["beat_at"]
        if silent < STALE_AFTER:
            raise Busy(
                f"Batch {batch['id']} is being worked by {batch['driver']}, silent for {silent.total_seconds():.0f} s."
            )
    elif state not in {BatchState.QUEUED, BatchState.IN_PROGRESS}:
        raise WrongState(f"Batch {batch['id']} is {state}; only a queued batch can be worked.")


async def _clear_the_way(tx: Tx, batch: Row, now: datetime) -> None:
    """Queue again the batch of the same client and workload whose driver fell silent; there may be only one at work."""
    other = await tx.row(
        sql.OTHER_WORKING_BATCH,
        {"client": batch["client_id"], "kind": batch["workload"], "batch_id": batch["id"]},
    )
    if other is None:
        return
    silent = None if other["beat_at"] is None else now - other["beat_at"]
    if other["state"] != BatchState.IN_PROGRESS or (silent is not None and silent < STALE_AFTER):
        said = f"which {other['driver']} works" if other["driver"] else f"which is {other['state']}"
        raise Busy(f"Batch {batch['id']} waits for batch {other['id']} of the same client and workload, {said}.")
    await tx.run(sql.RETURN_ITEMS, {"of_batch": other["id"]})
    await tx.run(sql.DROP_LANES_OF_BATCH, {"of_batch": other["id"]})
    await tx.run(sql.FENCE_OFF, {"batch_id": other["id"]})
    await _move(tx, other, BatchState.QUEUED, f"{other['driver']} fell silent", now)


async def _move(tx: Tx, batch: Row, to: BatchState, why: str | None, now: datetime) -> BatchState:
    """Move the batch and say so in its log; `driver` and `beat_at` go with the lease."""
    if batch["state"] not in sources(to):
        raise WrongState(f"Batch {batch['id']} is {batch['state']} and cannot become {to}.")
    closed = now if to in CLOSED_BATCHES else None
    await tx.run(sql.MOVE_BATCH, {"batch_id": batch["id"], "to": to, "why": why, "closed": closed})
    level = Level.ERROR if to is BatchState.FAILED else Level.INFO
    await log(tx, batch["id"], now, f"batch.{to}", f"Batch is {to}{': ' + why if why else ''}.", level=level)
    return to


async def _skip_open(tx: Tx, batch_id: int, now: datetime) -> int:
    moved = {"of_batch": batch_id, "to": ItemState.SKIPPED, "said": "target reached", "now": now}
    skipped = await tx.run(sql.CLOSE_OPEN_ITEMS, moved)
    await tx.run(sql.COUNT, {"batch_id": batch_id, **sql.NO_COUNTS, "more_skipped": skipped})
    return skipped
