"""A run in the ledger: opened once under its key, with its decision on every client, and closed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, select, update

from muster.certificate import ENDS, OPEN, certificate_of
from muster.errors import NotFound
from muster.ledger.beats import is_alive
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.live import LANE
from muster.ledger.proving import decisions_of, evidence_of
from muster.ledger.tables import BATCH, ITEM, RUN, RUN_CLIENT
from muster.limits import Mode
from muster.manifest import hash_of, manifest_of
from muster.selection import Decision
from muster.states import CLOSED_BATCHES, OPEN_BATCHES, BatchState, ItemState, RunState

NIGHTLY: Final = "nightly"
RECONCILE: Final = "reconcile"
CHECK: Final = "check"
WATCHERS: Final = (RECONCILE, CHECK)  # triggers whose runs open no batches
KEPT: Final = timedelta(days=14)  # theirs; `reconcile` fires each minute


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is opened with; `forced` appends `#2`, `#3`, … to a key that is taken."""

    key: str
    trigger: str
    mode: str
    request: Mapping[str, Any]
    forced: bool = False
    started_by: str | None = None


@dataclass(frozen=True, slots=True)
class Firing:
    """A firing of `reconcile` or `check`."""

    trigger: str
    started_at: datetime
    result: Mapping[str, Any]
    error: str | None = None


class Runs:
    """The runs' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def open(self, tx: Tx, new: NewRun, decisions: Sequence[Decision]) -> tuple[int, bool]:
        """Open a run with its decisions; the second time under the same key it is only found.

        Where a forced run under that key (`#2`, `#3`, …) has not come to its end, that one is found. Returns the run's
        id and whether it is new.
        """
        if not new.forced and (unended := await _unended(tx, new.key)) is not None:
            return unended, False
        run_id, key = await _insert(tx, new)
        while run_id is None and new.forced:  # somebody else took that number at the same moment
            run_id, key = await _insert(tx, new)
        if run_id is None:
            return await tx.value(select(RUN.c.id).where(RUN.c.key == key)), False
        if decisions:
            await tx.run(tx.insert(RUN_CLIENT), [{"run_id": run_id, **asdict(it)} for it in decisions])
        return run_id, True

    @reads
    async def get(self, tx: Tx, run_id: int) -> Row:
        """One run.

        Raises:
            NotFound: no such run.
        """
        run = await tx.row(select(RUN).where(RUN.c.id == run_id))
        if run is None:
            raise NotFound(f"There is no run {run_id}; `muster batches` shows each batch's run.")
        return run

    @reads
    async def id_of(self, tx: Tx, key: str) -> int:
        """The id of the run with that key.

        Raises:
            NotFound: no such run.
        """
        run_id: int | None = await tx.value(select(RUN.c.id).where(RUN.c.key == key))
        if run_id is None:
            raise NotFound(f"There is no run {key!r}; `muster batches` shows each batch's run.")
        return run_id

    @reads
    async def unfinished(self, tx: Tx, trigger: str, mode: str, request: Mapping[str, Any]) -> int | None:
        """The newest run of the same making whose work has not come to its end."""
        rows = await tx.rows(
            select(RUN.c.id, RUN.c.request)
            .where(RUN.c.trigger == trigger, RUN.c.mode == mode, RUN.c.state != RunState.DONE)
            .order_by(RUN.c.id.desc())
            .limit(20)
        )
        return next((row["id"] for row in rows if row["request"] == dict(request)), None)

    @reads
    async def newest(self, tx: Tx, trigger: str | None = None) -> Row | None:
        """The newest run, of a trigger or of any that opens batches."""
        meant = RUN.c.trigger == trigger if trigger else RUN.c.trigger.not_in(WATCHERS)
        return await tx.row(select(RUN).where(meant).order_by(RUN.c.id.desc()).limit(1))

    @reads
    async def night(self, tx: Tx, mode: str, since: datetime) -> Row | None:
        """The newest run over all clients, by whichever hand, that was opened at or after a moment."""
        nights = select(RUN).where(RUN.c.trigger == NIGHTLY, RUN.c.mode == mode, RUN.c.started_at >= since)
        rows = await tx.rows(nights.order_by(RUN.c.id.desc()))
        return next((row for row in rows if not row["request"].get("clients") and not row["request"].get("only")), None)

    @reads
    async def of_key(self, tx: Tx, key: str) -> Row | None:
        """The newest run of a key, forced ones included."""
        return await tx.row(select(RUN).where(_of_key(key)).order_by(RUN.c.id.desc()).limit(1))

    @writes
    async def record(self, tx: Tx, firing: Firing) -> None:
        """Write down a firing that opens no batches: who looked when, what was found, what went wrong."""
        now = await tx.now()
        state = RunState.FAILED if firing.error else RunState.DONE
        row = {"key": f"{firing.trigger}:{now:%Y-%m-%dT%H:%M:%S.%f}", "forced": False, "request": {}}
        ends = {"finished_at": now, "planned_at": now, "state": state, "mode": Mode.NORMAL}
        await tx.run(tx.insert(RUN).on_conflict_do_nothing(), {**row, **ends, **asdict(firing)})
        old = (RUN.c.trigger == firing.trigger, RUN.c.started_at < now - KEPT)
        await tx.run(delete(RUN).where(*old))

    @reads
    async def decisions(self, tx: Tx, run_id: int) -> list[Decision]:
        """What the run decided on every client, in the order of their ids."""
        return await decisions_of(tx, run_id)

    @writes
    async def planned(self, tx: Tx, run_id: int) -> None:
        """Freeze the manifest, now that all batches of the run are open: from now on it may be closed."""
        batches = await tx.rows(select(BATCH).where(BATCH.c.run_id == run_id).order_by(BATCH.c.client_id, BATCH.c.id))
        manifest = manifest_of(await decisions_of(tx, run_id), batches)
        open_run = update(RUN).where(RUN.c.id == run_id, RUN.c.planned_at.is_(None))
        frozen = {"manifest": manifest, "manifest_hash": hash_of(manifest)}
        await tx.run(open_run.values(planned_at=await tx.now(), **frozen))

    @reads
    async def half_planned(self, tx: Tx, since: timedelta) -> Sequence[Row]:
        """The runs that were opened longer ago than `since` and whose batches never all were."""
        lost = RUN.c.planned_at.is_(None), RUN.c.started_at < await tx.now() - since
        return await tx.rows(select(RUN).where(*lost, RUN.c.state == RunState.RUNNING).order_by(RUN.c.id))

    @reads
    async def over(self, tx: Tx) -> Sequence[Row]:
        """The runs whose batches all are closed although they themselves are not."""
        is_open = exists().where(BATCH.c.run_id == RUN.c.id, BATCH.c.state.in_(sorted(OPEN_BATCHES)))
        over = select(RUN).where(RUN.c.state == RunState.RUNNING, RUN.c.planned_at.is_not(None), ~is_open)
        return await tx.rows(over.order_by(RUN.c.id))

    @writes
    async def close(self, tx: Tx, run_id: int) -> bool:
        """Close the run if its batches are, write its certificate, and say whether this call did.

        A batch that was stopped before its end makes it `failed`. It waits for living lanes.
        """
        run = await tx.row(select(RUN).where(RUN.c.id == run_id).with_for_update())
        batches = await tx.rows(select(BATCH.c.id, BATCH.c.state, BATCH.c.reason).where(BATCH.c.run_id == run_id))
        is_over = all(row["state"] in CLOSED_BATCHES for row in batches) and not await _is_called(tx, run_id)
        if run is None or run["state"] != RunState.RUNNING or run["planned_at"] is None or not is_over:
            return False
        reasons = [f"batch {row['id']}: {row['reason']}" for row in batches if row["state"] == BatchState.FAILED]
        state = RunState.FAILED if reasons else RunState.DONE
        ended = {"state": state, "finished_at": await tx.now(), "error": "; ".join(reasons) or None}
        certificate = certificate_of(await evidence_of(tx, run_id))
        result = {name: value for name, value in certificate.items() if name in ("complete", "expected", *ENDS, OPEN)}
        proof = {"certificate": certificate, "result": result}
        await tx.run(update(RUN).where(RUN.c.id == run_id).values(**ended, **proof))
        return True


async def _insert(tx: Tx, new: NewRun) -> tuple[int | None, str]:
    """A row under the key, or the next free number of it; None if it is taken."""
    key = await _free_key(tx, new.key) if new.forced else new.key
    row = {**asdict(new), "key": key, "state": RunState.RUNNING, "started_at": await tx.now()}
    return await tx.value(tx.insert(RUN).values(row).on_conflict_do_nothing().returning(RUN.c.id)), key


async def _is_called(tx: Tx, run_id: int) -> bool:
    """Whether living lanes still finish items, of batches that were stopped before their end."""
    running = (ITEM.c.batch_id == BATCH.c.id) & (ITEM.c.state == ItemState.RUNNING)
    here = select(LANE.c.beat_at).join(ITEM, ITEM.c.lane == LANE.c.id).join(BATCH, running)
    here = here.where(BATCH.c.run_id == run_id).distinct()
    now = await tx.now()
    return any(is_alive(row["beat_at"], now, tx.stale_after) for row in await tx.rows(here))


def _of_key(key: str) -> ColumnElement[bool]:
    return (RUN.c.key == key) | RUN.c.key.startswith(f"{key}#", autoescape=True)


async def _unended(tx: Tx, key: str) -> int | None:
    """The newest run of a key whose work has not come to its end."""
    newest = select(RUN.c.id).where(_of_key(key), RUN.c.state != RunState.DONE).order_by(RUN.c.id.desc()).limit(1)
    found: int | None = await tx.value(newest)
    return found


async def _free_key(tx: Tx, key: str) -> str:
    taken = [row["key"] for row in await tx.rows(select(RUN.c.key).where(_of_key(key)))]
    numbers = [int(it) for it in (one.removeprefix(f"{key}#") for one in taken) if it.isdecimal()]
    return f"{key}#{max([1, *numbers]) + 1}" if taken else key
