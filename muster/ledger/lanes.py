"""What a lane does in the ledger: enter, claim, settle, beat, leave; each one transaction under the batch's fence."""

import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Executable, select

from muster.errors import LeaseLost, Unsettled
from muster.landing import Claimed, Landing
from muster.ledger import statements as sql
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.journal import Level, log
from muster.ledger.lease import Lease
from muster.ledger.returns import end_after_return, give_back, give_back_crashed
from muster.ledger.standing import Ready, Standing, end_if_over, lock_batch, standing_of
from muster.ledger.tables import ATTEMPT, LANE, STEP
from muster.ledger.trouble import passes
from muster.limits import Terms
from muster.states import CLOSED_ITEMS, BatchState

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
            batch = await _give_back_unheard(tx, lease, lane, holds)
        if batch["state"] != BatchState.IN_PROGRESS:
            return [], standing_of(batch)
        now = await tx.now()
        room = None if batch["target"] is None else batch["target"] - batch["gained"] - batch["reserved"]
        which = sql.DUE_SUSPECTS if alone else sql.DUE_ITEMS
        found = [row for name, n in wants.items() for row in await _due(tx, which, batch, name, n, now, terms, room)]
        claimed = list(_reserve(found[:1] if alone else found, terms, room))
        if claimed:
            await _start(tx, claimed, lease, lane, now)
            reserved = sum(item.reserved for item in claimed)
            await tx.run(sql.RESERVE, {"batch_id": lease.batch_id, "reserves": reserved})
            return claimed, standing_of(batch)
        due = await tx.value(sql.NEXT_DUE, {"batch_id": lease.batch_id})
        due_s = None if due is None else max(0.0, (due - now).total_seconds())
        return [], standing_of(batch, due_s, ready=await _ready(tx, lease.batch_id))

    @writes
    async def settle(
        self, tx: Tx, lease: Lease, lane: str, landings: Sequence[Landing], write_rows: Settle
    ) -> Standing:
        """Record outcomes with all their effects: items, attempts, the workload's own rows, counters, log, closing.

        What no longer belongs to this lane (it fell silent, its items were taken back) moves nothing and counts
        nothing.

        Raises:
            LeaseLost: another driver has the batch.
            Unsettled: `write_rows` failed; nothing was recorded.
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
        await tx.run(sql.LAND_ITEM, [_land(it, now) for it in moved])
        await _log_trouble(tx, lease.batch_id, moved, now)
        gained = await _written(tx, write_rows, [it for it in moved if it.closes])
        stopped = {it.item.upstream: it.error or "" for it in moved if it.stops_upstream}
        (counts,) = await tx.rows(sql.COUNT, _counts(lease.batch_id, moved, sum(gained.values())))
        return await end_if_over(tx, batch, counts, stopped, now)

    @writes
    async def remember(self, tx: Tx, lease: Lease, lane: str, item: Claimed, name: str, result: Any) -> None:
        """Make the result of a paid sub-call durable before the attempt goes on.

        Raises:
            LeaseLost: the item is no longer this lane's.
        """
        await lock_batch(tx, lease)
        held = await tx.row(sql.HELD_ITEMS, {"ids": [item.id], "by": lane, "epoch": lease.epoch})
        if held is None or held["starts"] != item.starts:
            raise LeaseLost(f"Item {item.id} is no longer this lane's.")
        row = {"item_id": item.id, "name": name, "result": result, "at": await tx.now()}
        await tx.run(tx.insert(STEP).on_conflict_do_nothing(), row)

    @reads
    async def recall(self, tx: Tx, item: Claimed) -> dict[str, Any]:
        """The results of the paid sub-calls that earlier attempts of this item made, by name."""
        rows = await tx.rows(select(STEP.c.name, STEP.c.result).where(STEP.c.item_id == item.id))
        return {row["name"]: row["result"] for row in rows}

    @writes
    async def beat(self, tx: Tx, lease: Lease, lane: str) -> Standing:
        """Say that the lane lives, and learn how the batch stands.

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
        return standing_of(batch)

    @writes
    async def leave(self, tx: Tx, lease: Lease, lane: str) -> None:
        """End the lane; whatever it still holds is given back."""
        batch = await lock_batch(tx, lease)
        await give_back(tx, batch, [lane])
        await end_after_return(tx, lease.batch_id, await tx.now())

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
        await end_after_return(tx, lease.batch_id, now)
        return returned


async def _written(tx: Tx, write_rows: Settle, closed: Sequence[Landing]) -> Mapping[int, int]:
    try:
        return await write_rows(tx, closed)
    except Exception as trouble:
        if passes(trouble):
            raise
        raise Unsettled(f"{type(trouble).__name__}: {trouble}") from trouble


def _dropped(lane: str, lease: Lease) -> str:
    return f"Lane {lane} of batch {lease.batch_id} was silent, and its items were given back."


async def _give_back_unheard(tx: Tx, lease: Lease, lane: str, holds: Collection[int]) -> Row:
    unheard = {"of_batch": lease.batch_id, "lane": lane, "holds": sorted(holds)}
    freed = await tx.value(sql.RESERVED_UNHEARD, unheard)
    await tx.run(sql.RETURN_UNHEARD, unheard)
    await tx.run(sql.RESERVE, {"batch_id": lease.batch_id, "reserves": -int(freed)})
    return await lock_batch(tx, lease)


async def _ready(tx: Tx, batch_id: int) -> Ready:
    """What kinds of ready items there are; suspects are few and indexed, so they are looked for first."""
    suspects = await tx.value(sql.SUSPECTS, {"batch_id": batch_id})
    others = suspects == 0 or await tx.row(sql.A_READY_ITEM, {"batch_id": batch_id}) is not None
    return Ready(suspects, others)


async def _due(
    tx: Tx, which: Executable, batch: Row, upstream: str, n: int, now: datetime, terms: Terms, room: int | None
) -> Sequence[Row]:
    if upstream in batch["stopped"] or n <= 0 or room == 0:
        return []
    if terms.claim is not None:
        n = min(n, terms.claim)
    return await tx.rows(which, {"batch_id": batch["id"], "upstream": upstream, "now": now, "n": n})


def _reserve(rows: Sequence[Row], terms: Terms, room: int | None) -> "list[Claimed]":
    """Give each item its part of the allowance, until nothing is left of it."""
    claimed: list[Claimed] = []
    for row in rows:
        share = terms.per_item if room is None else min(terms.per_item, room)
        if room is not None:
            if share <= 0:
                break
            room -= share
        claimed.append(
            Claimed(
                row["id"],
                row["key"],
                row["upstream"],
                row["payload"],
                row["tries"],
                row["starts"] + 1,
                share,
                row["due_at"],
                row["redrives"],
            )
        )
    return claimed


async def _start(tx: Tx, claimed: Sequence[Claimed], lease: Lease, lane: str, now: datetime) -> None:
    """Move the items to `running`: a statement for all that reserve the same, so one or two."""
    for reserves, same in groupby(claimed, key=lambda item: item.reserved):
        ids = [item.id for item in same]
        started = {"ids": ids, "by": lane, "at_epoch": lease.epoch, "reserves": reserves, "now": now}
        await tx.run(sql.START_ITEMS, started)


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
