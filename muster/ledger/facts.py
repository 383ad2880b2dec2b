"""What is asked of the ledger to explain why a batch or an item waits; a handful of indexed reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from muster.errors import NotFound
from muster.explain import Facts, Trouble, trouble_line
from muster.ledger.beats import is_alive
from muster.ledger.database import Database, Row, Tx, reads
from muster.ledger.drivers import queued_turns
from muster.ledger.live import ALLOTMENT, DRIVER, LANE, UPSTREAM
from muster.ledger.pacing import limit_now, pace_now
from muster.ledger.readings import whole_batches
from muster.ledger.standing import STOPPED
from muster.ledger.tables import BATCH, EVENT, ITEM
from muster.states import OPEN_ITEMS, WORKING_BATCHES, BatchState, ItemState


class Explaining:
    """The pages that answer why."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    async def facts(self, tx: Tx, batch_id: int) -> Facts:
        """What is known of a batch now.

        Raises:
            NotFound: no such batch.
        """
        batch = await tx.row(whole_batches().where(BATCH.c.id == batch_id))
        if batch is None:
            raise NotFound(f"There is no batch {batch_id}; `muster batches` lists them.")
        now = await tx.now()
        mine = ITEM.c.batch_id == batch_id
        counts = await tx.rows(select(ITEM.c.state, func.count().label("n")).where(mine).group_by(ITEM.c.state))
        waiting = select(func.min(ITEM.c.due_at)).where(mine, ITEM.c.state == ItemState.WAITING)
        alive = [it for it in await tx.rows(select(DRIVER)) if is_alive(it["beat_at"], now, tx.stale_after)]
        is_queued = batch["state"] == BatchState.QUEUED
        return Facts(
            now=now,
            batch=batch,
            counts={row["state"]: row["n"] for row in counts},
            next_due=await tx.value(waiting),
            upstreams=await _upstreams(tx, batch),
            drivers=len(alive),
            ahead=await _ahead(tx, batch) if is_queued else 0,
            blocker=await _blocker(tx, batch) if is_queued else None,
        )

    @reads
    async def item(self, tx: Tx, batch_id: int, key: str) -> tuple[Row, int]:
        """An item by its key, and how many of the batch and its upstream come before it.

        Raises:
            NotFound: the batch has no such item.
        """
        item = await tx.row(select(ITEM).where(ITEM.c.batch_id == batch_id, ITEM.c.key == key))
        if item is None:
            raise NotFound(f"Batch {batch_id} has no item {key!r}; `muster export {batch_id}` lists them.")
        alike = (ITEM.c.batch_id == batch_id, ITEM.c.upstream == item["upstream"], ITEM.c.state == ItemState.PENDING)
        before = select(func.count()).select_from(ITEM).where(*alike, ITEM.c.seq < item["seq"])
        return item, int(await tx.value(before))

    @reads
    async def troubles(self, tx: Tx, batch_ids: Sequence[int]) -> list[str]:
        """What is amiss with the upstreams that open items of some batches call, a sentence each."""
        now = await tx.now()
        batches = await tx.rows(select(BATCH.c.id, BATCH.c.stopped).where(BATCH.c.id.in_(batch_ids)))
        stopped = {(row["id"], name): why for row in batches for name, why in row["stopped"].items()}
        denied, held_up = dict[tuple[str, str], int](), Counter[str]()
        for row in await _open_items(tx, batch_ids):
            why = stopped.get((row["batch_id"], row["upstream"]))
            if why is None:
                held_up[row["upstream"]] += row["n"]
            else:
                denied[row["upstream"], why] = denied.get((row["upstream"], why), 0) + row["n"]
        known = {row["name"]: row for row in await tx.rows(select(UPSTREAM).where(UPSTREAM.c.name.in_(held_up)))}
        since = await _stopped_since(tx, batch_ids)
        found = [Trouble({"name": name}, n, why, since.get(name)) for (name, why), n in denied.items()]
        lost = await _lost(tx, list(known))
        found += [Trouble({**known[name], **lost[name]}, n) for name, n in held_up.items() if name in known]
        return [line for it in found if (line := trouble_line(it, now))]


async def _open_items(tx: Tx, batch_ids: Sequence[int]) -> Sequence[Row]:
    """How many items of some batches are open, by batch and upstream."""
    mine = (ITEM.c.batch_id.in_(batch_ids), ITEM.c.state.in_(sorted(OPEN_ITEMS)))
    counts = select(ITEM.c.batch_id, ITEM.c.upstream, func.count().label("n")).where(*mine)
    return await tx.rows(counts.group_by(ITEM.c.batch_id, ITEM.c.upstream).order_by(ITEM.c.upstream))


async def _stopped_since(tx: Tx, batch_ids: Sequence[int]) -> dict[str, datetime]:
    """When each upstream was called for the last time."""
    stops = select(EVENT.c.at, EVENT.c.data).where(EVENT.c.batch_id.in_(batch_ids), EVENT.c.kind == STOPPED)
    return {row["data"].get("upstream"): row["at"] for row in await tx.rows(stops.order_by(EVENT.c.id))}


async def _upstreams(tx: Tx, batch: Row) -> Sequence[Mapping[str, Any]]:
    """The batch's upstreams, with their calls in flight over all and those of this batch."""
    names = ALLOTMENT.c.upstream.in_(batch["upstreams"])
    held, its = func.sum(ALLOTMENT.c.held).label("held"), ALLOTMENT.c.batch_id == batch["id"]
    in_flight = select(ALLOTMENT.c.upstream, held, func.sum(ALLOTMENT.c.held).filter(its).label("mine")).where(names)
    using = {row["upstream"]: row for row in await tx.rows(in_flight.group_by(ALLOTMENT.c.upstream))}
    rows = await tx.rows(select(UPSTREAM).where(UPSTREAM.c.name.in_(batch["upstreams"])).order_by(UPSTREAM.c.name))
    nothing, lost = {"held": 0, "mine": 0}, await _lost(tx, batch["upstreams"])
    used = {row["name"]: using.get(row["name"], nothing) for row in rows}
    now = await tx.now()
    return [
        {
            **row,
            **lost[row["name"]],
            "in_flight": used[row["name"]]["held"] or 0,
            "mine": used[row["name"]]["mine"] or 0,
            "bears": limit_now(row, now),
            "pace": pace_now(row, now),
        }
        for row in rows
    ]


async def _lost(tx: Tx, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Calls of lanes that are gone, which may still be carried out, and until when they count."""
    gone = (ALLOTMENT.c.upstream.in_(names), ALLOTMENT.c.held > 0, ALLOTMENT.c.lane.not_in(select(LANE.c.id)))
    sums = (func.sum(ALLOTMENT.c.held).label("lost"), func.max(ALLOTMENT.c.expires_at).label("lost_until"))
    rows = await tx.rows(select(ALLOTMENT.c.upstream, *sums).where(*gone).group_by(ALLOTMENT.c.upstream))
    found = {row["upstream"]: {"lost": row["lost"], "lost_until": row["lost_until"]} for row in rows}
    return {name: found.get(name, {"lost": 0, "lost_until": None}) for name in names}


async def _ahead(tx: Tx, batch: Row) -> int:
    """How many turns come before the batch's."""
    turns = await tx.rows(queued_turns(await tx.now(), None))
    mine = (batch["client_id"], batch["run_id"])
    return next((at for at, it in enumerate(turns) if (it["client_id"], it["run_id"]) == mine), 0)


async def _blocker(tx: Tx, batch: Row) -> Row | None:
    return await tx.row(
        select(BATCH).where(
            BATCH.c.client_id == batch["client_id"],
            BATCH.c.workload == batch["workload"],
            BATCH.c.state.in_(sorted(WORKING_BATCHES)),
        )
    )
