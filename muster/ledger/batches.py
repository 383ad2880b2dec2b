"""A batch's life in the ledger: opened, taken, beaten for, given up; each move one transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from muster.errors import Busy, WrongState
from muster.ledger import statements as sql
from muster.ledger.beats import is_alive, silence
from muster.ledger.database import Database, Row, Tx, writes
from muster.ledger.journal import Level, log
from muster.ledger.lease import Lease
from muster.ledger.opening import NewBatch, Plan, batch_row, chunks, deadline_of, item_row
from muster.ledger.returns import end_after_return, give_back_all, give_back_crashed, lanes_of, silent_lanes
from muster.ledger.standing import (
    Standing,
    deadline_passed,
    end_if_over,
    is_past,
    lock_any_batch,
    lock_batch,
    move_batch,
    standing_of,
)
from muster.ledger.tables import BATCH, ITEM
from muster.manifest import Fingerprint
from muster.states import WORKING_BATCHES, BatchState


class Batches:
    """The batches' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def open(self, tx: Tx, new: NewBatch, plan: Plan) -> tuple[int, bool]:
        """Open a batch under its key and stream its items in; the second time it is only found.

        Returns the batch's id and whether it is new. At most `terms.items` items are taken from the plan.

        Raises:
            WrongState: what is planned now is not what the manifest says; nothing was opened.
        """
        now = await tx.now()
        batch_id = await tx.value(
            tx.insert(BATCH).values(batch_row(new, now)).on_conflict_do_nothing().returning(BATCH.c.id)
        )
        if batch_id is None:
            return await tx.value(select(BATCH.c.id).where(BATCH.c.key == new.key)), False
        total, upstreams, fingerprint = 0, set[str](), Fingerprint()
        async for chunk in chunks(plan(), new.terms.items):
            rows = [item_row(batch_id, total + at, item, now) for at, item in enumerate(chunk)]
            await tx.run(tx.insert(ITEM), rows)
            total += len(rows)
            for item in chunk:
                upstreams.add(item.upstream)
                fingerprint.add(item.upstream, item.key, item.payload)
        if new.frozen is not None and (total, str(fingerprint)) != (new.frozen["items"], new.frozen["hash"]):
            said = f"The batch of {new.client_id} {new.workload} is gone and cannot be planned again as it was"
            raise WrongState(f"{said}; a new run plans what is due now.")
        planned = {"total": total, "upstreams": sorted(upstreams.union(new.terms.beside))}
        await tx.run(update(BATCH).where(BATCH.c.id == batch_id).values(**planned, manifest_hash=str(fingerprint)))
        await log(tx, batch_id, now, "batch.queued", f"Queued with {total} items.", data=planned)
        return batch_id, True

    async def take(self, batch_id: int, driver: str) -> Lease:
        """Win the batch's lease; what a driver that fell silent left running is given back.

        Raises:
            NotFound: no such batch.
            Busy: a living driver works it, or another batch of the same client and workload.
            WrongState: it is closed or paused.
        """
        try:
            lease = await self._take(batch_id, driver)
        except IntegrityError as clash:
            if "batch" not in str(clash.orig):
                raise
            raise Busy(
                f"Batch {batch_id} waits: its client has another batch of this workload in progress or paused."
            ) from None
        if lease is None:
            raise WrongState(f"Batch {batch_id} is past its deadline; `muster resume {batch_id}` gives it a new one.")
        return lease

    @writes
    async def _take(self, tx: Tx, batch_id: int, driver: str) -> Lease | None:
        """The lease; None if the batch is past its deadline, and fails instead."""
        batch = await lock_any_batch(tx, batch_id)
        now = await tx.now()
        _check_free(batch, now, tx)
        if is_past(batch["deadline_at"], now) and not batch["held"]:
            await give_up_dead(tx, batch, "past its deadline", now) if batch["driver"] else None
            await move_batch(tx, batch, BatchState.FAILED, deadline_passed(batch["id"], batch["deadline_at"]), now)
            return None
        await _clear_the_way(tx, batch, now)
        returned = await give_back_crashed(tx, batch, await lanes_of(tx, batch_id), now, seen=False)
        taken = {"batch_id": batch_id, "by": driver, "now": now, "until": _deadline(batch, now)}
        lease = Lease(batch_id, await tx.value(sql.TAKE_BATCH, taken))
        said = {"driver": driver, "epoch": lease.epoch, "returned": returned}
        if batch["started_at"] is None:
            await log(tx, batch_id, now, "batch.started", "The first driver has begun it.", data={"driver": driver})
        await log(tx, batch_id, now, "batch.taken", f"Taken by {driver}; {returned} items given back.", data=said)
        await end_after_return(tx, batch, now)
        return lease

    @writes
    async def stop_upstreams(self, tx: Tx, lease: Lease, why: Mapping[str, str]) -> Standing:
        """Call some upstreams no more in this batch; their items stay open.

        Raises:
            LeaseLost: another driver has the batch.
        """
        batch = await lock_batch(tx, lease)
        return await end_if_over(tx, batch, batch, why, await tx.now())

    @writes
    async def beat(self, tx: Tx, lease: Lease) -> Standing:
        """Say that the driver lives, end the batch at its deadline, and give back the items of lanes that fell silent.

        A driver that was itself silent for long does not judge its lanes: they may have been kept waiting by the same
        machine or database, and beat in a moment.

        Raises:
            LeaseLost: another driver has the batch.
        """
        batch = await lock_batch(tx, lease)
        now = await tx.now()
        if batch["state"] not in WORKING_BATCHES:
            return standing_of(batch)
        await tx.run(sql.BEAT_BATCH, {"batch_id": lease.batch_id, "now": now})
        if is_past(batch["deadline_at"], now):
            await move_batch(tx, batch, BatchState.FAILED, deadline_passed(batch["id"], batch["deadline_at"]), now)
            return await end_after_return(tx, batch, now)
        if not is_alive(batch["beat_at"], now, tx.stale_after / 2):
            return standing_of(batch)
        if await give_back_silent(tx, batch, now):
            return await end_after_return(tx, batch, now)
        return standing_of(batch)

    @writes
    async def release(self, tx: Tx, lease: Lease, reason: str, *, blameless: bool = False) -> None:
        """Give the batch up cleanly: back to `queued`, nothing left running.

        A `blameless` driver, one that was asked to stop, does not count as one that got nowhere.

        Raises:
            LeaseLost: another driver has the batch.
        """
        batch = await lock_batch(tx, lease)
        await give_back_all(tx, batch)
        await tx.run(sql.GIVE_UP, {"batch_id": lease.batch_id, "pardoned": int(blameless and batch["fruitless"] > 0)})
        if batch["state"] == BatchState.IN_PROGRESS:
            await move_batch(tx, batch, BatchState.QUEUED, reason, await tx.now())


async def give_up_dead(tx: Tx, batch: Row, why: str, now: datetime) -> int:
    """Fence off the driver that fell silent, give back what it left running, and queue the batch again."""
    returned = await give_back_crashed(tx, batch, await lanes_of(tx, batch["id"]), now, seen=False)
    await tx.run(sql.FENCE_OFF, {"batch_id": batch["id"]})
    await move_batch(tx, batch, BatchState.QUEUED, f"{why}; {returned} items given back", now)
    return returned


async def give_back_silent(tx: Tx, batch: Row, now: datetime) -> int:
    """Give back the items of lanes that fell silent; the number of lanes."""
    silent = await silent_lanes(tx, batch["id"], now)
    if silent:
        returned = await give_back_crashed(tx, batch, silent, now, seen=False)
        message = f"{len(silent)} lanes fell silent; {returned} items given back."
        await log(tx, batch["id"], now, "lane.silent", message, level=Level.WARNING, data={"lanes": silent})
    return len(silent)


def _check_free(batch: Row, now: datetime, tx: Tx) -> None:
    state = BatchState(batch["state"])
    if state is BatchState.IN_PROGRESS and is_alive(batch["beat_at"], now, tx.stale_after):
        heard = silence(batch["beat_at"], now)
        raise Busy(f"Batch {batch['id']} is being worked by {batch['driver']}, {heard}.")
    if state not in {BatchState.QUEUED, BatchState.IN_PROGRESS}:
        raise WrongState(f"Batch {batch['id']} is {state}; only a queued batch can be worked.")


async def _clear_the_way(tx: Tx, batch: Row, now: datetime) -> None:
    """Queue again the batch of the same client and workload whose driver fell silent; there may be only one at work."""
    of_same = {"client": batch["client_id"], "kind": batch["workload"], "batch_id": batch["id"]}
    other = await tx.row(sql.OTHER_WORKING_BATCH, of_same)
    if other is None:
        return
    if other["state"] != BatchState.IN_PROGRESS or is_alive(other["beat_at"], now, tx.stale_after):
        said = f"which is {other['state']}" + (f" at {other['driver']}" if other["driver"] else "")
        raise Busy(f"Batch {batch['id']} waits for batch {other['id']} of the same client and workload, {said}.")
    await give_up_dead(tx, other, f"{other['driver']} is {silence(other['beat_at'], now)}", now)


def _deadline(batch: Row, now: datetime) -> datetime | None:
    """The batch's deadline; its first driver also starts the clock of how long it may be worked."""
    if batch["started_at"]:
        return cast("datetime | None", batch["deadline_at"])
    latest = None if batch["held"] else batch["deadline_at"]  # while it is held no time passes
    return deadline_of(batch["limits"], now, latest)
