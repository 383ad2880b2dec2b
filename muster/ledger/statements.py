"""The statements that move items and batches, by name; they are built here once and never run here.

Every one that writes is used under the lock of `LOCK_BATCH`, which is the fence: without a row the lease is lost.
"""

from typing import Final

from sqlalchemy import bindparam, delete, func, null, select, union_all, update
from sqlalchemy import literal as const

from muster.ledger.tables import BATCH, ITEM, LANE
from muster.states import CLOSED_ITEMS, OPEN_ITEMS, READY_ITEMS, WORKING_BATCHES, BatchState, ItemState

_b, _i, _l = BATCH.c, ITEM.c, LANE.c

REMAINING: Final = (_b.total - _b.succeeded - _b.skipped - _b.failed - _b.cancelled).label("remaining")

LOCK_BATCH: Final = (
    select(BATCH, REMAINING)
    .where(_b.id == bindparam("batch_id"), _b.epoch == bindparam("epoch"))
    .with_for_update(key_share=True)
)
LOCK_ANY_BATCH: Final = select(BATCH, REMAINING).where(_b.id == bindparam("batch_id")).with_for_update(key_share=True)
SEE_BATCH: Final = select(BATCH, REMAINING).where(_b.id == bindparam("batch_id"), _b.epoch == bindparam("epoch"))

_CLAIMABLE = (_i.id, _i.key, _i.upstream, _i.payload, _i.tries, _i.starts, _i.due_at, _i.seq)


def _due(state: ItemState) -> object:
    """Due items of one state, in the index's own order, so that a claim reads no more rows than it takes."""
    return (
        select(*_CLAIMABLE)
        .where(
            _i.batch_id == bindparam("batch_id"),
            _i.upstream == bindparam("upstream"),
            _i.state == const(state, literal_execute=True),
            _i.due_at <= bindparam("now", type_=_i.due_at.type),
        )
        .order_by(_i.due_at, _i.seq)
        .limit(bindparam("n"))
        .subquery()
    )


_ready = union_all(*(select(_due(state)) for state in sorted(READY_ITEMS))).subquery()  # type: ignore[call-overload]
DUE_ITEMS: Final = select(_ready).order_by(_ready.c.due_at, _ready.c.seq).limit(bindparam("n"))

START_ITEMS: Final = (
    update(ITEM)
    .where(_i.id.in_(bindparam("ids", expanding=True)))
    .values(
        state=ItemState.RUNNING,
        starts=_i.starts + 1,
        lane=bindparam("by"),
        epoch=bindparam("at_epoch"),
        reserved=bindparam("reserves"),
        started_at=bindparam("now", type_=_i.started_at.type),
    )
)
RESERVE: Final = (
    update(BATCH).where(_b.id == bindparam("batch_id")).values(reserved=_b.reserved + bindparam("reserves"))
)
NEXT_DUE: Final = select(func.min(_i.due_at)).where(
    _i.batch_id == bindparam("batch_id"), _i.state == const(ItemState.WAITING, literal_execute=True)
)

HELD_ITEMS: Final = select(_i.id, _i.starts, _i.reserved).where(
    _i.id.in_(bindparam("ids", expanding=True)),
    _i.state == const(ItemState.RUNNING, literal_execute=True),
    _i.lane == bindparam("by"),
    _i.epoch == bindparam("epoch"),
)
LAND_ITEM: Final = (
    update(ITEM)
    .where(_i.id == bindparam("item_id"))
    .values(
        state=bindparam("to"),
        tries=bindparam("used"),
        due_at=bindparam("due", type_=_i.due_at.type),
        lane=null(),
        reserved=0,
        closed_at=bindparam("closed", type_=_i.closed_at.type),
        error_kind=bindparam("kind"),
        error=bindparam("said"),
        result=bindparam("gives", type_=_i.result.type),
        cost_micros=_i.cost_micros + bindparam("cost"),
    )
)
COUNT: Final = (
    update(BATCH)
    .where(_b.id == bindparam("batch_id"))
    .values(
        succeeded=_b.succeeded + bindparam("more_succeeded"),
        skipped=_b.skipped + bindparam("more_skipped"),
        failed=_b.failed + bindparam("more_failed"),
        cancelled=_b.cancelled + bindparam("more_cancelled"),
        gained=_b.gained + bindparam("more_gained"),
        reserved=_b.reserved - bindparam("freed"),
        cost_micros=_b.cost_micros + bindparam("more_cost"),
    )
    .returning(REMAINING, _b.target, _b.gained, _b.reserved)
)
NO_COUNTS: Final = {
    **{f"more_{state}": 0 for state in sorted(CLOSED_ITEMS)},
    "more_gained": 0,
    "freed": 0,
    "more_cost": 0,
}

CLOSE_OPEN_ITEMS: Final = (
    update(ITEM)
    .where(_i.batch_id == bindparam("of_batch"), _i.state.in_(sorted(READY_ITEMS)))
    .values(state=bindparam("to"), error=bindparam("said"), closed_at=bindparam("now", type_=_i.closed_at.type))
)
OTHER_OPEN_ITEM: Final = (
    select(_i.id)
    .where(
        _i.batch_id == bindparam("batch_id"),
        (_i.state == const(ItemState.RUNNING, literal_execute=True))
        | (_i.state.in_(sorted(OPEN_ITEMS)) & _i.upstream.not_in(bindparam("stopped", expanding=True))),
    )
    .limit(1)
)
MOVE_BATCH: Final = (
    update(BATCH)
    .where(_b.id == bindparam("batch_id"))
    .values(
        state=bindparam("to"),
        reason=bindparam("why"),
        driver=null(),
        beat_at=null(),
        closed_at=bindparam("closed", type_=_b.closed_at.type),
    )
)

OTHER_WORKING_BATCH: Final = (
    select(BATCH)
    .where(
        _b.client_id == bindparam("client"),
        _b.workload == bindparam("kind"),
        _b.id != bindparam("batch_id"),
        _b.state.in_(sorted(WORKING_BATCHES)),
    )
    .with_for_update(key_share=True)
)
FENCE_OFF: Final = update(BATCH).where(_b.id == bindparam("batch_id")).values(epoch=_b.epoch + 1, reserved=0)
BEAT_BATCH: Final = (
    update(BATCH).where(_b.id == bindparam("batch_id")).values(beat_at=bindparam("now", type_=_b.beat_at.type))
)
TAKE_BATCH: Final = (
    update(BATCH)
    .where(_b.id == bindparam("batch_id"))
    .values(
        state=BatchState.IN_PROGRESS,
        epoch=_b.epoch + 1,
        driver=bindparam("by"),
        driver_runs=_b.driver_runs + 1,
        beat_at=bindparam("now", type_=_b.beat_at.type),
        started_at=func.coalesce(_b.started_at, bindparam("now", type_=_b.beat_at.type)),
        reserved=0,
        reason=null(),
    )
    .returning(_b.epoch)
)
RETURN_ITEMS: Final = (
    update(ITEM)
    .where(_i.batch_id == bindparam("of_batch"), _i.state == const(ItemState.RUNNING, literal_execute=True))
    .values(state=ItemState.PENDING, lane=null(), reserved=0)
)
RETURN_ITEMS_OF: Final = RETURN_ITEMS.where(_i.lane.in_(bindparam("lanes", expanding=True)))
RESERVED_BY: Final = select(func.coalesce(func.sum(_i.reserved), 0)).where(
    _i.batch_id == bindparam("batch_id"),
    _i.state == const(ItemState.RUNNING, literal_execute=True),
    _i.lane.in_(bindparam("lanes", expanding=True)),
)
SILENT_LANES: Final = select(_l.id).where(
    _l.batch_id == bindparam("batch_id"), _l.beat_at < bindparam("before", type_=_l.beat_at.type)
)
DROP_LANES: Final = delete(LANE).where(_l.id.in_(bindparam("lanes", expanding=True)))
DROP_LANES_OF_BATCH: Final = delete(LANE).where(_l.batch_id == bindparam("of_batch"))
BEAT_LANE: Final = (
    update(LANE)
    .where(_l.id == bindparam("lane_id"), _l.epoch == bindparam("at_epoch"))
    .values(beat_at=bindparam("now", type_=_l.beat_at.type))
)
