"""What a lane does in the ledger: enter, claim, settle, beat, leave; each one transaction under the batch's fence."""

import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select

from muster.allotment import Grant, Report
from muster.errors import LeaseLost, Unsettled
from muster.landing import Claimed, Landing
from muster.ledger import statements as sql
from muster.ledger.allotments import exchange, leave_upstreams
from muster.ledger.claims import due_items, give_back_unheard, places_left, ready_of, reserve, start
from muster.ledger.database import Database, Tx, reads, writes
from muster.ledger.journal import Level, log, log_notes, log_progress
from muster.ledger.lease import Lease
from muster.ledger.live import LANE
from muster.ledger.returns import end_after_return, give_back, give_back_crashed
from muster.ledger.standing import Standing, end_if_over, fail_at, is_past, lock_batch, pause_for, standing_of
from muster.ledger.tables import ATTEMPT, STEP
from muster.ledger.trouble import cause_of, passes
from muster.limits import Terms
from muster.states import CLOSED_ITEMS, BatchState, ItemState

NO_REPORTS: Final[Mapping[str, Report]] = {}
NONE_ABANDONED: Final[Mapping[str, int]] = {}

Settle = Callable[[Tx, Sequence[Landing]], Awaitable[Mapping[int, int]]]


class Lanes:
    """The lanes' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def enter(self, tx: Tx, lease: Lease, lane: str, *, alone: bool = False) -> None:
        """Write the lane down, so that its silence can be noticed; one that is `alone` takes one suspect at a time."""
        await lock_batch(tx, lease)
        row = {"id": lane, "batch_id": lease.batch_id, "epoch": lease.epoch, "beat_at": await tx.now()}
        who = {"host": socket.gethostname(), "pid": os.getpid(), "alone": alone}
        await tx.run(tx.insert(LANE).on_conflict_do_nothing(), {**row, **who})

    @writes
    async def claim(
        self,
        tx: Tx,
        lease: Lease,
        lane: str,
        terms: Terms,
        wants: Mapping[str, int],
        *,
        alone: bool = False,
        holds: Collection[int] = (),
    ) -> tuple[list[Claimed], Standing]:
        """Move up to `wants` due items of each upstream to `running`; the record that their calls may be made.

        An allowance is reserved with them: no claim takes more than is left of it. Suspects are claimed only by lanes
        that work them `alone`, and these claim nothing else. `holds` are the items that the lane has: what an earlier
        attempt at this claim was given without the lane's hearing of it goes back first.

        Raises:
            LeaseLost: another driver has the batch, or the lane fell silent and was dropped.
        """
        batch = await lock_batch(tx, lease)
        if await tx.row(sql.SEE_LANE, {"lane_id": lane}) is None:
            raise LeaseLost(_dropped(lane, lease))
        if tx.is_retry:
            batch = await give_back_unheard(tx, lease, lane, holds)
        now = await tx.now()
        if batch["state"] != BatchState.IN_PROGRESS or is_past(batch["deadline_at"], now):
            return [], standing_of(batch)  # a deadline's driver ends the batch at its next beat
        room = None if batch["target"] is None else batch["target"] - batch["gained"] - batch["reserved"]
        which = sql.DUE_SUSPECTS if alone else sql.DUE_ITEMS
        places = await places_left(tx, batch, terms)
        found = await due_items(tx, which, batch, wants, now, terms, room) if places != 0 else []
        claimed = reserve(found[: 1 if alone else places], terms, room)
        if claimed:
            await start(tx, claimed, lease, lane, now)
            return claimed, standing_of(batch)
        due = await tx.value(sql.NEXT_DUE, {"batch_id": lease.batch_id, "now": now})
        due_s = None if due is None else (due - now).total_seconds()
        return [], standing_of(batch, due_s, ready=await ready_of(tx, batch))

    @writes
    async def settle(
        self, tx: Tx, lease: Lease, lane: str, landings: Sequence[Landing], write_rows: Settle
    ) -> Standing:
        """Record outcomes with all their effects: items, attempts, the workload's own rows, counters, log, closing.

        What no longer belongs to this lane (it fell silent, its items were taken back) moves nothing and counts
        nothing.

        Raises:
            LeaseLost: another driver has the batch.
            Unsettled: an outcome or its rows cannot be written; nothing was recorded.
        """
        batch = await lock_batch(tx, lease)
        now = await tx.now()
        held = {
            row["id"]: row
            for row in await tx.rows(
                sql.HELD_ITEMS, {"ids": sorted(it.item.id for it in landings), "by": lane, "epoch": lease.epoch}
            )
        }
        moved = sorted(
            (it for it in landings if it.item.id in held and held[it.item.id]["starts"] == it.item.starts),
            key=lambda it: it.item.id,
        )
        if not moved:
            return standing_of(batch)
        gained = await _written(tx, lease.batch_id, moved, write_rows, now)
        stopped = {it.item.upstream: it.error or "" for it in moved if it.stops_upstream}
        (counts,) = await tx.rows(sql.COUNT, _counts(lease.batch_id, moved, sum(gained.values())))
        await log_progress(tx, batch, counts["remaining"], now)
        standing = await end_if_over(tx, batch, counts, stopped, now)
        standing = await fail_at(tx, batch, standing, _failure(moved), now)
        return await pause_for(tx, batch, standing, next((it.pauses for it in moved if it.pauses), None), now)

    @writes
    async def remember(
        self, tx: Tx, lease: Lease, lane: str, item: Claimed, name: str, result: Any, cost_micros: int = 0
    ) -> None:
        """Make the result of a paid sub-call durable, with what it cost, before the attempt goes on.

        Raises:
            LeaseLost: the item is no longer this lane's.
        """
        await lock_batch(tx, lease)
        held = await tx.row(sql.HELD_ITEMS, {"ids": [item.id], "by": lane, "epoch": lease.epoch})
        if held is None or held["starts"] != item.starts:
            raise LeaseLost(f"Item {item.id} is no longer this lane's.")
        row = {"item_id": item.id, "name": name, "result": result, "at": await tx.now()}
        if await tx.run(tx.insert(STEP).on_conflict_do_nothing(), row) and cost_micros:
            await tx.run(sql.SPEND_ON_ITEM, {"item_id": item.id, "more_cost": cost_micros})
            await tx.run(sql.SPEND, {"batch_id": lease.batch_id, "more_cost": cost_micros})

    @reads
    async def recall(self, tx: Tx, item: Claimed) -> dict[str, Any]:
        """The results of the paid sub-calls that earlier attempts of this item made, by name."""
        rows = await tx.rows(select(STEP.c.name, STEP.c.result).where(STEP.c.item_id == item.id))
        return {row["name"]: row["result"] for row in rows}

    @writes
    async def beat(
        self, tx: Tx, lease: Lease, lane: str, reports: Mapping[str, Report] = NO_REPORTS
    ) -> tuple[Standing, dict[str, Grant]]:
        """Say that the lane lives and how it stands with its upstreams; learn how the batch stands, what it may use.

        Raises:
            LeaseLost: another driver has the batch, or the lane fell silent and was dropped.
        """
        now = await tx.now()
        beaten = {"lane_id": lane, "at_epoch": lease.epoch, "now": now}
        if not await tx.run(sql.BEAT_LANE, beaten):
            raise LeaseLost(_dropped(lane, lease))
        batch = await tx.row(sql.SEE_BATCH, {"batch_id": lease.batch_id, "epoch": lease.epoch})
        if batch is None:
            raise LeaseLost(f"Another driver took batch {lease.batch_id}.")
        who = {"id": lane, "batch_id": lease.batch_id, **{name: batch[name] for name in ("client_id", "weight")}}
        who["served"] = batch["total"] - batch["remaining"]
        return standing_of(batch), await exchange(tx, who, reports)

    @reads
    async def is_there(self, tx: Tx, lane: str) -> bool:
        """Whether the lane is written down: not before it entered, and no more once it left or was dropped."""
        return await tx.row(sql.SEE_LANE, {"lane_id": lane}) is not None

    @writes
    async def leave(self, tx: Tx, lease: Lease, lane: str, abandoned: Mapping[str, int] = NONE_ABANDONED) -> None:
        """End the lane; whatever it still holds is given back, but for the calls that it only stopped waiting for."""
        batch = await lock_batch(tx, lease)
        await give_back(tx, batch, [lane])
        await leave_upstreams(tx, lane, abandoned)
        await end_after_return(tx, batch, await tx.now())

    @writes
    async def fallen(self, tx: Tx, lease: Lease, lane: str, why: str) -> int:
        """Record that the process of a lane was seen to die: its items come back, but one that was alone is poison.

        Returns how many items it held.

        Raises:
            LeaseLost: another driver has the batch.
        """
        batch = await lock_batch(tx, lease)
        now = await tx.now()
        returned = await give_back_crashed(tx, batch, [lane], now, seen=True)
        said = f"The process of lane {lane} ended ({why}); {returned} items came back."
        await log(tx, lease.batch_id, now, "lane.fallen", said, level=Level.WARNING, data={"lane": lane})
        await end_after_return(tx, batch, now)
        return returned


async def _written(
    tx: Tx, batch_id: int, moved: Sequence[Landing], write_rows: Settle, now: datetime
) -> Mapping[int, int]:
    """Write what the outcomes say; one that no database takes is its workload's fault, and no other's."""
    try:
        await tx.run(sql.LAND_ITEM, [_land(it, now) for it in moved])
        await _log_trouble(tx, batch_id, moved, now)
        return await write_rows(tx, [it for it in moved if it.closes])
    except Exception as trouble:
        if passes(trouble):
            raise
        raise Unsettled(f"{type(trouble).__name__}: {cause_of(trouble)}") from trouble


def _failure(moved: Sequence[Landing]) -> str | None:
    """The first item that failed, and why."""
    return next((f"{it.item.key!r}: {it.error}" for it in moved if it.state is ItemState.FAILED), None)


def _dropped(lane: str, lease: Lease) -> str:
    return f"Lane {lane} of batch {lease.batch_id} was silent, and its items were given back."


def _land(it: Landing, now: datetime) -> dict[str, Any]:
    return {
        "item_id": it.item.id,
        "to": it.state,
        "used": it.tries,
        "due": it.item.due_at if it.wait is None else now + timedelta(seconds=it.wait),
        "closed": now if it.closes else None,
        "kind": it.kind,
        "said": it.error,
        "gives": it.result,
        "cost": it.cost_micros,
    }


def _counts(batch_id: int, moved: Sequence[Landing], gained: int) -> dict[str, int]:
    ends = Counter(it.state for it in moved if it.closes)
    return {
        "batch_id": batch_id,
        **{f"more_{state}": ends[state] for state in CLOSED_ITEMS},
        "more_gained": gained,
        "freed": sum(it.item.reserved for it in moved),
        "more_cost": sum(it.cost_micros for it in moved),
    }


async def _log_trouble(tx: Tx, batch_id: int, moved: Sequence[Landing], now: datetime) -> None:
    """Keep the history of what did not succeed; a bug's traceback goes to the batch log."""
    rows = [_attempt(it, now) for it in moved if it.is_trouble]
    if rows:
        await tx.run(tx.insert(ATTEMPT), rows)
    await log_notes(tx, batch_id, moved, now)
    for it in moved:
        if it.log:
            said = {"traceback": it.log}
            await log(tx, batch_id, now, "item.bug", it.error or "", level=Level.ERROR, item_id=it.item.id, data=said)


def _attempt(it: Landing, now: datetime) -> dict[str, Any]:
    return {
        "item_id": it.item.id,
        "number": it.item.starts,
        "error_kind": it.kind,
        "error": it.error or "",
        "status_code": it.status_code,
        "ms": it.ms,
        "resource": it.resource,
        "at": now,
    }
