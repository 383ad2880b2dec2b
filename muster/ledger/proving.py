"""Proof: what a run's certificate stands on, and the return of items that are gone."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from sqlalchemy import func, select, update

from muster.certificate import ENDS, Evidence
from muster.errors import NotFound, WrongState
from muster.landing import NewItem
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.journal import log
from muster.ledger.opening import Plan, item_row
from muster.ledger.orders import queue_again
from muster.ledger.standing import lock_any_batch
from muster.ledger.tables import BATCH, ITEM, RUN, RUN_CLIENT
from muster.manifest import Fingerprint
from muster.selection import Decision
from muster.states import CLOSED_BATCHES

_FROZEN: Final = (ITEM.c.seq, ITEM.c.key, ITEM.c.upstream, ITEM.c.payload)


class Proving:
    """The pages of the ledger that prove what became of a run."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    async def evidence(self, tx: Tx, run_id: int) -> Evidence:
        """What the ledger holds of a run.

        Raises:
            NotFound: no such run.
        """
        return await evidence_of(tx, run_id)

    async def fingerprint(self, batch_id: int) -> str:
        """The hash of a batch's items as they are now, none kept in memory."""
        found = Fingerprint()
        items = select(*_FROZEN).where(ITEM.c.batch_id == batch_id).order_by(ITEM.c.seq)
        async with self.database.reading() as tx:
            async for row in tx.stream(items):
                found.add(row["upstream"], row["key"], row["payload"])
        return str(found)

    @writes
    async def restore(self, tx: Tx, batch_id: int, wanted: Row, plan: Plan) -> int:
        """Plan a closed batch's missing items again, and queue it; how many they were.

        Raises:
            WrongState: the batch is open, or what is planned now is not what was planned then; nothing was changed.
        """
        batch = await lock_any_batch(tx, batch_id)
        if batch["state"] not in CLOSED_BATCHES:
            raise WrongState(f"Batch {batch_id} is {batch['state']}; items are restored to closed batches only.")
        there = await tx.rows(select(*_FROZEN).where(ITEM.c.batch_id == batch_id))
        missing = sorted(set(range(wanted["items"])) - {row["seq"] for row in there})
        fresh = [item async for item in _fresh(plan, {row["key"] for row in there}, len(missing))]
        placed = dict(zip(missing, fresh, strict=False))
        if str(_fingerprint(there, placed)) != wanted["hash"]:
            said = f"{len(missing)} items of batch {batch_id} are gone and cannot be planned again as they were"
            raise WrongState(f"{said}; a new run plans what is due now.")
        now = await tx.now()
        await queue_again(tx, batch, now)  # first: a batch that is done cannot have open items
        await tx.run(tx.insert(ITEM), [item_row(batch_id, seq, item, now) for seq, item in placed.items()])
        await _count_anew(tx, batch_id, wanted["items"])
        await log(tx, batch_id, now, "batch.restored", f"Items that were gone, planned again: {len(missing)}.")
        return len(missing)


async def evidence_of(tx: Tx, run_id: int) -> Evidence:
    """What the ledger holds of a run, at one moment."""
    run = await tx.row(select(RUN).where(RUN.c.id == run_id))
    if run is None:
        raise NotFound(f"There is no run {run_id}; `muster batches` shows each batch's run.")
    batches = await tx.rows(select(BATCH).where(BATCH.c.run_id == run_id).order_by(BATCH.c.client_id, BATCH.c.id))
    why = func.coalesce(ITEM.c.error_kind, ITEM.c.error).label("why")
    ends = (
        select(ITEM.c.batch_id, ITEM.c.state, why, func.count().label("n"))
        .join(BATCH, BATCH.c.id == ITEM.c.batch_id)
        .where(BATCH.c.run_id == run_id)
        .group_by(ITEM.c.batch_id, ITEM.c.state, why)
    )
    return Evidence(run, batches, await tx.rows(ends), await decisions_of(tx, run_id))


async def decisions_of(tx: Tx, run_id: int) -> list[Decision]:
    """What a run decided on every client, in the order of their ids."""
    rows = await tx.rows(select(RUN_CLIENT).where(RUN_CLIENT.c.run_id == run_id).order_by(RUN_CLIENT.c.client_id))
    return [Decision(row["client_id"], row["included"], tuple(row["workloads"]), row["reason"]) for row in rows]


async def _fresh(plan: Plan, known: set[str], most: int) -> AsyncIterator[NewItem]:
    """The first planned items that the batch does not have."""
    taken = 0
    async with aclosing(plan()) as items:
        async for item in items:
            if taken < most and item.key not in known:
                taken += 1
                yield item


def _fingerprint(there: Sequence[Row], placed: dict[int, NewItem]) -> Fingerprint:
    frozen = {row["seq"]: (row["upstream"], row["key"], row["payload"]) for row in there}
    frozen |= {seq: (item.upstream, item.key, item.payload) for seq, item in placed.items()}
    found = Fingerprint()
    for seq in sorted(frozen):
        found.add(*frozen[seq])
    return found


async def _count_anew(tx: Tx, batch_id: int, total: int) -> None:
    """Derive a batch's counters from its items: rows that are gone were counted too."""
    counts = select(ITEM.c.state, func.count().label("n")).where(ITEM.c.batch_id == batch_id).group_by(ITEM.c.state)
    found = {row["state"]: row["n"] for row in await tx.rows(counts)}
    fresh = {state: found.get(state, 0) for state in ENDS}
    await tx.run(update(BATCH).where(BATCH.c.id == batch_id).values(total=total, **fresh))
