"""A run in the ledger: opened once under its key, with its decision on every client, and closed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import exists, func, select, update

from muster.errors import NotFound
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.tables import BATCH, RUN, RUN_CLIENT
from muster.selection import Decision
from muster.states import CLOSED_BATCHES, OPEN_BATCHES, BatchState, RunState


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is opened with; `forced` appends `#2`, `#3`, … to a key that is taken."""

    key: str
    trigger: str
    mode: str
    request: Mapping[str, Any]
    forced: bool = False


class Runs:
    """The runs' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def open(self, tx: Tx, new: NewRun, decisions: Sequence[Decision]) -> tuple[int, bool]:
        """Open a run with its decisions; the second time under the same key it is only found.

        Returns the run's id and whether it is new.
        """
        key = await _free_key(tx, new.key) if new.forced else new.key
        row = {**asdict(new), "key": key, "state": RunState.RUNNING, "started_at": await tx.now()}
        run_id = await tx.value(tx.insert(RUN).values(row).on_conflict_do_nothing().returning(RUN.c.id))
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
    async def decisions(self, tx: Tx, run_id: int) -> list[Decision]:
        """What the run decided on every client, in the order of their ids."""
        rows = await tx.rows(select(RUN_CLIENT).where(RUN_CLIENT.c.run_id == run_id).order_by(RUN_CLIENT.c.client_id))
        return [Decision(row["client_id"], row["included"], tuple(row["workloads"]), row["reason"]) for row in rows]

    @writes
    async def planned(self, tx: Tx, run_id: int) -> None:
        """Record that all batches of the run are open: from now on it may be closed."""
        open_run = update(RUN).where(RUN.c.id == run_id, RUN.c.planned_at.is_(None))
        await tx.run(open_run.values(planned_at=await tx.now()))

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
        """Close the run if its batches are, and say whether this call did.

        A batch that was stopped before its end makes it `failed`.
        """
        run = await tx.row(select(RUN).where(RUN.c.id == run_id).with_for_update())
        batches = await tx.rows(select(BATCH.c.id, BATCH.c.state, BATCH.c.reason).where(BATCH.c.run_id == run_id))
        is_over = all(row["state"] in CLOSED_BATCHES for row in batches)
        if run is None or run["state"] != RunState.RUNNING or run["planned_at"] is None or not is_over:
            return False
        reasons = [f"batch {row['id']}: {row['reason']}" for row in batches if row["state"] == BatchState.FAILED]
        state = RunState.FAILED if reasons else RunState.DONE
        ended = {"state": state, "finished_at": await tx.now(), "error": "; ".join(reasons) or None}
        await tx.run(update(RUN).where(RUN.c.id == run_id).values(**ended))
        return True


async def _free_key(tx: Tx, key: str) -> str:
    taken = await tx.value(
        select(func.count())
        .select_from(RUN)
        .where((RUN.c.key == key) | RUN.c.key.startswith(f"{key}#", autoescape=True))
    )
    return f"{key}#{taken + 1}" if taken else key
