"""What reconciling sees of each open batch, and how it mends one: judged again under the lock, then moved."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import exists, select

from muster.ledger import statements as sql
from muster.ledger.batches import give_up_dead
from muster.ledger.beats import is_alive
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.journal import Level, log
from muster.ledger.live import DRIVER, LANE
from muster.ledger.returns import give_back_crashed, lanes_of, silent_lanes
from muster.ledger.standing import lock_any_batch, move_batch
from muster.ledger.tables import BATCH
from muster.states import OPEN_BATCHES, WORKING_BATCHES, BatchState


class Verdict(StrEnum):
    """What is to be done about a batch."""

    HEALTHY = "healthy"  # nothing
    AT_REST = "at rest"  # nothing: it is held or paused, or closed while its last calls finish
    CLOSE = "close"  # every item is closed: so is the batch
    TAKE_OVER = "take over"  # its driver fell silent: queue it again
    START = "start"  # queued, and no driver is there that would take it
    FAIL = "fail"  # past its deadline, or driver after driver got nowhere
    STUCK = "stuck"  # nobody but a person can mend it
    CLEAR = "clear"  # no driver, and lanes that fell silent have left items running


CALM: Final = frozenset({Verdict.HEALTHY, Verdict.AT_REST})


@dataclass(frozen=True, slots=True)
class Seen:
    """One batch as reconciling sees it."""

    id: int
    run_id: int
    client_id: str
    workload: str
    state: BatchState
    remaining: int
    held: bool
    driver: str | None
    beat_at: datetime | None
    created_at: datetime
    driver_runs: int
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
        around = await _around(tx, now)
        is_open, has_lanes = BATCH.c.state.in_(sorted(OPEN_BATCHES)), exists().where(LANE.c.batch_id == BATCH.c.id)
        watched = select(BATCH, sql.REMAINING).where(is_open | has_lanes).order_by(BATCH.c.id)
        return [_see(batch, around, tx.stale_after) for batch in await tx.rows(watched)], now

    @writes
    async def mend(self, tx: Tx, batch_id: int, judge: Judge) -> Judgement:
        """Judge the batch again under its lock, and do what the verdict says; a driver may have come to life."""
        batch = await lock_any_batch(tx, batch_id)
        now = await tx.now()
        if tx.waited_s > tx.stale_after.total_seconds() / 2:  # those that seem silent may have waited just as long
            return Judgement(Verdict.HEALTHY, f"the ledger was busy for {tx.waited_s:.0f} s; to be judged again")
        judgement = judge(_see(batch, await _around(tx, now), tx.stale_after), now)
        mended = MENDS.get(judgement.verdict)
        if mended is not None:
            await mended(tx, batch, judgement.reason, now)
        return judgement


@dataclass(frozen=True, slots=True)
class _Around:
    """What has to be known of all batches to judge one."""

    drivers: Sequence[int | None]  # the only run that each living driver serves
    working: Mapping[tuple[str, str], int]  # (client, workload) → the one batch at work
    silent: Mapping[int, int]  # how many lanes of a batch fell silent


async def _around(tx: Tx, now: datetime) -> _Around:
    drivers = [it["run_id"] for it in await tx.rows(select(DRIVER)) if is_alive(it["beat_at"], now, tx.stale_after)]
    working = select(BATCH.c.id, BATCH.c.client_id, BATCH.c.workload).where(BATCH.c.state.in_(sorted(WORKING_BATCHES)))
    beats = {row["id"]: row["beat_at"] for row in await tx.rows(select(LANE.c.id, LANE.c.beat_at))}
    lanes = await tx.rows(sql.ALL_LANES)
    silent = Counter(it["batch_id"] for it in lanes if not is_alive(beats.get(it["lane"]), now, tx.stale_after))
    at_work = {(it["client_id"], it["workload"]): it["id"] for it in await tx.rows(working)}
    return _Around(drivers, at_work, silent)


def _see(batch: Row, around: _Around, stale_after: timedelta) -> Seen:
    at_work = around.working.get((batch["client_id"], batch["workload"]))
    return Seen(
        **{name: batch[name] for name in _COLUMNS},
        state=BatchState(batch["state"]),
        silent_lanes=around.silent.get(batch["id"], 0),
        waits_for=None if at_work == batch["id"] else at_work,
        has_driver=any(run_id in {None, batch["run_id"]} for run_id in around.drivers),
        stale_after=stale_after,
    )


_COLUMNS: Final = (
    "id",
    "run_id",
    "client_id",
    "workload",
    "remaining",
    "held",
    "driver",
    "beat_at",
    "created_at",
    "driver_runs",
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


async def _clear(tx: Tx, batch: Row, reason: str, now: datetime) -> None:
    lanes = await silent_lanes(tx, batch["id"], now)
    returned = await give_back_crashed(tx, batch, lanes, now, seen=False)
    said = f"Cleared: {reason}; {returned} items given back."
    await log(tx, batch["id"], now, "batch.cleared", said, level=Level.WARNING, data={"lanes": list(lanes)})
    if batch["state"] in WORKING_BATCHES and not is_alive(batch["beat_at"], now, tx.stale_after):
        await tx.run(sql.GIVE_UP, {"batch_id": batch["id"], "pardoned": 0})


MENDS: Final = {
    Verdict.CLOSE: _close,
    Verdict.TAKE_OVER: _take_over,
    Verdict.FAIL: _fail,
    Verdict.CLEAR: _clear,
}
