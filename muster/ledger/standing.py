"""How a batch stands, the fence before every write to it, and its end."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import update

from muster.errors import LeaseLost, NotFound, WrongState
from muster.ledger import statements as sql
from muster.ledger.database import Row, Tx
from muster.ledger.journal import Level, log
from muster.ledger.lease import Lease
from muster.ledger.tables import BATCH
from muster.states import CLOSED_BATCHES, CLOSED_ITEMS, WORKING_BATCHES, BatchState, ItemState, sources

STOPPED: Final = "upstream.stopped"  # the kind of its events
SUMMARY: Final = ("total", *sorted(map(str, CLOSED_ITEMS)), "remaining", "gained", "cost_micros")


@dataclass(frozen=True, slots=True)
class Ready:
    """What waits for a lane: so many suspects, and whether there may be others."""

    suspects: int
    others: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a batch stands, as a transaction saw it."""

    state: BatchState
    remaining: int
    stopped: Mapping[str, str]
    next_due_s: float | None = None  # seconds until a waiting item is due
    ready: Ready | None = None  # looked up only where a claim found nothing

    @property
    def is_workable(self) -> bool:
        """Whether anything may still be claimed."""
        return self.state is BatchState.IN_PROGRESS and self.remaining > 0


def standing_of(batch: Row, next_due_s: float | None = None, *, ready: Ready | None = None) -> Standing:
    """The standing of a batch row."""
    return Standing(BatchState(batch["state"]), batch["remaining"], batch["stopped"], next_due_s, ready)


def is_past(deadline_at: datetime | None, now: datetime) -> bool:
    """Whether a batch's deadline is over."""
    return deadline_at is not None and now >= deadline_at


def deadline_passed(batch_id: int, deadline_at: datetime) -> str:
    """Why a batch that is past its deadline ends."""
    return f"deadline: not over by {deadline_at:%Y-%m-%d %H:%M} UTC; `muster resume {batch_id}` goes on"


async def lock_batch(tx: Tx, lease: Lease) -> Row:
    """The fence of every write: lock the batch at the lease's epoch.

    Raises:
        LeaseLost: the batch has a newer epoch.
    """
    batch = await tx.row(sql.LOCK_BATCH, {"batch_id": lease.batch_id, "epoch": lease.epoch})
    if batch is None:
        raise LeaseLost(f"Another driver took batch {lease.batch_id}, or a person cancelled it.")
    return batch


async def lock_any_batch(tx: Tx, batch_id: int) -> Row:
    """Lock a batch at whatever epoch it is.

    Raises:
        NotFound: no such batch.
    """
    batch = await tx.row(sql.LOCK_ANY_BATCH, {"batch_id": batch_id})
    if batch is None:
        raise NotFound(f"There is no batch {batch_id}; `muster batches` lists them.")
    return batch


async def move_batch(tx: Tx, batch: Row, to: BatchState, why: str | None, now: datetime) -> BatchState:
    """Move the batch and say so in its log; `driver` and `beat_at` go with the lease.

    Raises:
        WrongState: the table of moves does not know this one.
    """
    if batch["state"] not in sources(to):
        raise WrongState(f"Batch {batch['id']} is {batch['state']} and cannot become {to}.")
    moved = {"batch_id": batch["id"], "to": to, "why": why}
    if to in WORKING_BATCHES:  # its driver, if it has one, keeps it
        await tx.run(sql.MARK_BATCH, moved)
    else:
        await tx.run(sql.MOVE_BATCH, {**moved, "closed": now if to in CLOSED_BATCHES else None})
    level = Level.ERROR if to is BatchState.FAILED else Level.INFO
    said = f"Batch is {to}{': ' + why.rstrip('.') if why else ''}."
    counts = await _summary(tx, batch["id"]) if to in CLOSED_BATCHES else {}
    await log(tx, batch["id"], now, f"batch.{to}", said, level=level, data=counts)
    return to


async def _summary(tx: Tx, batch_id: int) -> dict[str, Any]:
    """How a batch ended, in numbers."""
    counts = await tx.row(sql.LOCK_ANY_BATCH, {"batch_id": batch_id})
    return {name: counts[name] for name in SUMMARY} if counts else {}


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
            said = f"No more calls to {name}: {why}"
            await log(tx, batch["id"], now, STOPPED, said, level=Level.ERROR, data={"upstream": name})
    state = BatchState(batch["state"])
    if state not in {*WORKING_BATCHES, BatchState.FAILED}:
        return Standing(state, remaining, all_stopped)
    if remaining == 0:
        state = await move_batch(tx, batch, BatchState.DONE, None, now)
    elif (
        state is BatchState.IN_PROGRESS
        and all_stopped
        and not await tx.row(sql.OTHER_OPEN_ITEM, {"batch_id": batch["id"], "stopped": sorted(all_stopped)})
    ):
        state = await move_batch(tx, batch, BatchState.FAILED, " ".join(dict.fromkeys(all_stopped.values())), now)
    return Standing(state, remaining, all_stopped)


async def pause_for(tx: Tx, batch: Row, standing: Standing, why: str | None, now: datetime) -> Standing:
    """Pause a batch of which nothing can be begun until a person has seen to it."""
    if why is None or not standing.is_workable:
        return standing
    return replace(standing, state=await move_batch(tx, batch, BatchState.PAUSED, why, now))


async def fail_at(tx: Tx, batch: Row, standing: Standing, failure: str | None, now: datetime) -> Standing:
    """End a batch that is to stop at its first failure; what is in flight still ends, its other items stay open."""
    if failure is None or not standing.is_workable or not batch["limits"].get("fail_fast"):
        return standing
    why = f"stopped at the first failure, {failure}"
    return replace(standing, state=await move_batch(tx, batch, BatchState.FAILED, why, now))


async def _skip_open(tx: Tx, batch_id: int, now: datetime) -> int:
    moved = {"of_batch": batch_id, "to": ItemState.SKIPPED, "said": "target reached", "now": now}
    skipped = await tx.run(sql.CLOSE_OPEN_ITEMS, moved)
    await tx.run(sql.COUNT, {"batch_id": batch_id, **sql.NO_COUNTS, "more_skipped": skipped})
    return skipped
