"""What each lane may use of an upstream: every beat says what it holds and wants, and takes its part of what is left.

All lanes of an upstream come by here one after the other, under the lock of its row; a batch is never locked with it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, case, delete, func, select, update

from muster.allotment import Grant, Report
from muster.ledger.database import Row, Tx
from muster.ledger.granting import FRESH, MOST_SLOTS, grant_to
from muster.ledger.live import ALLOTMENT, UPSTREAM
from muster.ledger.tables import BATCH, ITEM
from muster.states import READY_ITEMS, BatchState, BreakerState, ItemState
from muster.upstreams.known import KNOWN, Allowed

_a, _i, _u = ALLOTMENT.c, ITEM.c, UPSTREAM.c
AHEAD: Final = timedelta(seconds=5)  # a beat from farther ahead is one from before the clock was set back
NEW_UPSTREAM: Final = {
    "tokens_per_call": 1000.0,
    "breaker": BreakerState.CLOSED,
    "failures": 0,
    "openings": 0,
}

_LOCK: Final = select(UPSTREAM).where(_u.name == bindparam("of")).with_for_update()
_ROWS: Final = select(ALLOTMENT).where(_a.upstream == bindparam("of"))
_FORGET: Final = delete(ALLOTMENT).where(
    _a.upstream == bindparam("of"), _a.lane != bindparam("me"), _a.expires_at < bindparam("now", type_=_a.beat_at.type)
)
_OWN: Final = ITEM.alias("own").c
_OWNS: Final = select(_OWN.id).where(_OWN.batch_id == _a.batch_id, _OWN.upstream == _a.upstream)
_IS_BESIDE: Final = ~_OWNS.correlate(ALLOTMENT).exists()  # no item has the upstream as its own: any may call it
_IN_FLIGHT: Final = (
    select(func.count())
    .select_from(ITEM)
    .where(
        _i.batch_id == _a.batch_id,
        _i.lane == _a.lane,
        (_i.upstream == _a.upstream) | _IS_BESIDE,
        _i.state == ItemState.RUNNING,
    )
    .scalar_subquery()
)
_MAY_HOLD: Final = func.coalesce(_a.allotted, _a.wanted)
_LEAST: Final = case((_a.held < _a.pledged, _a.pledged), else_=_a.held)
_PUBLISHED: Final = case((_LEAST < _MAY_HOLD, _MAY_HOLD), else_=_LEAST)
_SETTLE: Final = (
    update(ALLOTMENT)
    .where(_a.lane.in_(bindparam("lanes", expanding=True)), (_a.allotted != 0) | _a.allotted.is_(None))
    .values(
        held=case((_IN_FLIGHT < _PUBLISHED, _IN_FLIGHT), else_=_PUBLISHED),
        pledged=0,
        allotted=0,
        wanted=0,
        slots=0,
        slots_wanted=0,
    )
)
_DUE: Final = select(func.count()).select_from(
    select(_i.id)
    .where(
        _i.batch_id == bindparam("of_batch"),
        _i.upstream == bindparam("of"),
        _i.state.in_(sorted(READY_ITEMS)),
        (_i.state != ItemState.WAITING) | (_i.due_at <= bindparam("now", type_=_i.due_at.type)),
    )
    .limit(MOST_SLOTS)
    .subquery()
)
_IN_LINE: Final = select(func.count(BATCH.c.client_id.distinct())).where(BATCH.c.state == BatchState.QUEUED)


async def exchange(tx: Tx, lane: Row, reports: Mapping[str, Report]) -> dict[str, Grant]:
    """Take what a lane says of its upstreams, and grant it its part of each until its next beat.

    `lane` has `id`, `batch_id`, `client_id`, `weight` and `served`.
    """
    return {name: await _exchange(tx, lane, name, reports[name]) for name in sorted(reports)}


async def lock_upstream(tx: Tx, name: str) -> Row:
    """Lock an upstream's row, which is made where there is none."""
    row = await tx.row(_LOCK, {"of": name})
    if row is None:
        usual = asdict(KNOWN.get(name, Allowed()))
        await tx.run(tx.insert(UPSTREAM).values(NEW_UPSTREAM | usual | {"name": name}).on_conflict_do_nothing())
        row = await tx.row(_LOCK, {"of": name})
    assert row is not None, "it was written"  # noqa: S101
    return row


async def settle_charges(tx: Tx, lanes: Iterable[str]) -> None:
    """Count what lanes that fell silent may have in flight until it times out: no more than they had claimed."""
    await tx.run(_SETTLE, {"lanes": sorted(lanes)})


async def leave_upstreams(tx: Tx, lane: str, abandoned: Mapping[str, int]) -> None:
    """Free what a lane used; calls that it gave up waiting for count until they must have timed out."""
    mine = _a.lane == lane
    await tx.run(delete(ALLOTMENT).where(mine, _a.upstream.not_in(sorted(abandoned))))
    for name, held in abandoned.items():
        nothing = {"held": held, "pledged": 0, "allotted": 0, "wanted": 0, "slots": 0, "slots_wanted": 0}
        await tx.run(update(ALLOTMENT).where(mine, _a.upstream == name).values(nothing))


async def _exchange(tx: Tx, lane: Row, name: str, report: Report) -> Grant:
    upstream = await lock_upstream(tx, name)
    now = await tx.now()
    await tx.run(_FORGET, {"of": name, "me": lane["id"], "now": now})
    rows = await _rows(tx, name, lane["id"], now)
    due = int(await tx.value(_DUE, {"of_batch": lane["batch_id"], "of": name, "now": now}))
    in_line = await tx.value(_IN_LINE)
    grant, mine, after = grant_to(lane, report, due, upstream, rows, now, in_line)
    row = {**mine, "upstream": name}
    put = tx.insert(ALLOTMENT)
    await tx.run(put.on_conflict_do_update(index_elements=["lane", "upstream"], set_=_excluded(put)), row)
    await _keep(tx, upstream, after)
    return grant


def _excluded(put: Any) -> dict[str, Any]:
    return {it.name: put.excluded[it.name] for it in ALLOTMENT.c if it.name not in {"lane", "upstream"}}


async def _rows(tx: Tx, name: str, me: str, now: datetime) -> Sequence[Row]:
    """All lanes of the upstream; one that has just fallen silent is charged with what it can have begun."""
    rows = await tx.rows(_ROWS, {"of": name})
    for row in rows:
        if row["beat_at"] > now + AHEAD:  # the clock was set back: it is as if heard now, and times out from now
            there = {"beat_at": now, "expires_at": now + (row["expires_at"] - row["beat_at"])}
            await tx.run(update(ALLOTMENT).where(_a.lane == row["lane"], _a.upstream == name).values(there))
    rows = await tx.rows(_ROWS, {"of": name}) if any(it["beat_at"] > now + AHEAD for it in rows) else rows
    fallen = [it["lane"] for it in rows if now - it["beat_at"] > FRESH and it["allotted"] != 0 and it["lane"] != me]
    if not fallen:
        return rows
    await settle_charges(tx, fallen)
    return await tx.rows(_ROWS, {"of": name})


async def _keep(tx: Tx, before: Row, after: Mapping[str, Any]) -> None:
    changed = {name: value for name, value in after.items() if value != before[name]}
    if changed:
        await tx.run(update(UPSTREAM).where(_u.name == before["name"]).values(changed))
