"""What reconciling sees of each open batch, and how it mends one: judged again under the lock, then moved."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import exists, select

from muster.ledger import statements as sql
from muster.ledger.batches import give_up_dead
from muster.ledger.beats import is_alive
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.returns import give_back_crashed, lanes_of, silent_lanes
from muster.ledger.standing import lock_any_batch, move_batch
from muster.ledger.tables import BATCH, DRIVER, LANE
from muster.states import OPEN_BATCHES, WORKING_BATCHES, BatchState


class Verdict(StrEnum):
    """What is to be done about a batch."""

    HEALTHY = "healthy"  # nothing
    CLOSE = "close"  # every item is closed: so is the batch
    TAKE_OVER = "take over"  # its driver fell silent: queue it again
    START = "start"  # queued, and no driver is there that would take it
    FAIL = "fail"  # past its deadline, or driver after driver got nowhere
    CLEAR = "clear"  # no driver, and lanes that fell silent have left items running


@dataclass(frozen=True, slots=True)
class Seen:
    """One batch as reconciling sees it."""

    id: int
    run_id: int
    client_id: str
    workload: str
    state: BatchState
    remaining: int
    driver: str | None
    beat_at: datetime | None
    created_at: datetime
    deadline_at: datetime | None
    fruitless: int
    silent_lanes: int  # lanes that fell silent
    waits_for: int | None  # another batch of this client and workload is at work
    has_driver: bool  # a driver lives that will take it
    stale_after: timedelta


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and its reason, in words for the log."""

    verdict: Verdict
    reason: str
    look_again_s: float | None = None  # its driver missed beats: so soon it is dead or has beaten


Judge = Callable[[Seen, datetime], Judgement]


class Mending:
    """The pages of the ledger that reconciling reads and writes."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    async def look(self, tx: Tx) -> tuple[list[Seen], datetime]:
        """Every batch that is open, or has lanes although it is not at work; and the time of the look."""
        now = await tx.now()
        with_lanes = exists().where(LANE.c.batch_id == BATCH.c.id)
        watched = select(BATCH.c.id).where(BATCH.c.state.in_(sorted(OPEN_BATCHES)) | with_lanes).order_by(BATCH.c.id)
        batches = [await tx.row(sql.SEE_ANY_BATCH, {"batch_id": row["id"]}) for row in await tx.rows(watched)]
        return [await _see(tx, batch, now) for batch in batches if batch is not None], now

    @writes
    async def mend(self, tx: Tx, batch_id: int, judge: Judge) -> Judgement:
        """Judge the batch again under its lock, and do what the verdict says; a driver may have come to life."""
        batch = await lock_any_batch(tx, batch_id)
        now = await tx.now()
        judgement = judge(await _see(tx, batch, now), now)
        mended = MENDS.get(judgement.verdict)
        if mended is not None:
            await mended(tx, batch, judgement.reason, now)
        return judgement


async def _see(tx: Tx, batch: Row, now: datetime) -> Seen:
    drivers = [it for it in await tx.rows(select(DRIVER)) if is_alive(it["beat_at"], now, tx.stale_after)]
    of_same = {"client": batch["client_id"], "kind": batch["workload"], "batch_id": batch["id"]}
    other = await tx.row(sql.SEE_OTHER_WORKING_BATCH, of_same)
    return Seen(
        **{name: batch[name] for name in _COLUMNS},
        state=BatchState(batch["state"]),
        silent_lanes=len(await silent_lanes(tx, batch["id"], now)),
        waits_for=None if other is None else other["id"],
        has_driver=any(it["run_id"] in {None, batch["run_id"]} for it in drivers),
        stale_after=tx.stale_after,
    )


_COLUMNS: Final = (
    "id",
    "run_id",
    "client_id",
    "workload",
    "remaining",
    "driver",
    "beat_at",
    "created_at",
    "deadline_at",
    "fruitless",
)


async def _close(tx: Tx, batch: Row, reason: str, now: datetime) -> None:
    await move_batch(tx, batch, BatchState.DONE, reason, now)


async def _take_over(tx: Tx, batch: Row, reason: str, now: datetime) -> None:
    await give_up_dead(tx, batch, reason, now)


async def _fail(tx: Tx, batch: Row, reason: str, now: datetime) -> None:
    """A driver that lives lets its calls in flight finish; one that does not is fenced off."""
    if not is_alive(batch["beat_at"], now, tx.stale_after):
        await give_back_crashed(tx, batch, await lanes_of(tx, batch["id"]), now, seen=False)
        await tx.run(sql.FENCE_OFF, {"batch_id": batch["id"]})
    await move_batch(tx, batch, BatchState.FAILED, reason, now)


async def _clear(tx: Tx, batch: Row, _reason: str, now: datetime) -> None:
    await give_back_crashed(tx, batch, await silent_lanes(tx, batch["id"], now), now, seen=False)
    if batch["state"] in WORKING_BATCHES:
        await tx.run(sql.GIVE_UP, {"batch_id": batch["id"], "pardoned": 0})


MENDS: Final = {
    Verdict.CLOSE: _close,
    Verdict.TAKE_OVER: _take_over,
    Verdict.FAIL: _fail,
    Verdict.CLEAR: _clear,
}
