"""The statements that move items and batches, by name; they are built here once and never run here.

Every one that writes is used under the lock of `LOCK_BATCH`, which is the fence: without a row the lease is lost.
"""

from typing import Any, Final

from sqlalchemy import (
    Integer,
    Select,
    Subquery,
    bindparam,
    case,
    delete,
    func,
    insert,
    not_,
    null,
    select,
    union,
    union_all,
    update,
)
from sqlalchemy import literal as const

from muster.ledger.live import LANE
from muster.ledger.tables import ATTEMPT, BATCH, CLIENT, ITEM, SUSPECT_FROM
from muster.outcomes import ErrorKind
from muster.states import CLOSED_ITEMS, OPEN_ITEMS, READY_ITEMS, WORKING_BATCHES, BatchState, ItemState

_b, _i, _l = BATCH.c, ITEM.c, LANE.c

REMAINING: Final = (_b.total - _b.succeeded - _b.skipped - _b.failed - _b.cancelled).label("remaining")

LOCK_BATCH: Final = (
    select(BATCH, REMAINING)
    .where(_b.id == bindparam("batch_id"), _b.epoch == bindparam("epoch"))
    .with_for_update(key_share=True)
)
LOCK_ANY_BATCH: Final = select(BATCH, REMAINING).where(_b.id == bindparam("batch_id")).with_for_update(key_share=True)
SEE_BATCH: Final = (
    select(BATCH, REMAINING, CLIENT.c.weight)
    .join(CLIENT, CLIENT.c.id == _b.client_id)
    .where(_b.id == bindparam("batch_id"), _b.epoch == bindparam("epoch"))
)

_IS_SUSPECT = _i.crashes >= const(SUSPECT_FROM, literal_execute=True)
_CLAIMABLE = (_i.id, _i.key, _i.upstream, _i.payload, _i.tries, _i.starts, _i.redrives, _i.due_at, _i.seq)


def _due(state: ItemState, *, suspects: bool) -> Subquery:
    """Due items of one state, in the index's own order, so that a claim reads no more rows than it takes.

    Only a waiting item has a time before which it may not be called: a clock that was put back holds up no other.
    """
    here = (
        select(*_CLAIMABLE)
        .where(
            _i.batch_id == bindparam("batch_id"),
            _i.upstream == bindparam("upstream"),
            _i.state == const(state, literal_execute=True),
            _IS_SUSPECT if suspects else not_(_IS_SUSPECT),
        )
        .order_by(_i.due_at, _i.seq)
        .limit(bindparam("n"))
    )
    if state is ItemState.WAITING:
        here = here.where(_i.due_at <= bindparam("now", type_=_i.due_at.type))
    return here.subquery()


def _all_due(*, suspects: bool) -> Select[Any]:
    ready = union_all(*(select(_due(state, suspects=suspects)) for state in sorted(READY_ITEMS))).subquery()
    return select(ready).order_by(ready.c.due_at, ready.c.seq).limit(bindparam("n"))


DUE_ITEMS: Final = _all_due(suspects=False)
DUE_SUSPECTS: Final = _all_due(suspects=True)
_READY_HERE = (
    _i.batch_id == bindparam("batch_id"),
    _i.state.in_(sorted(READY_ITEMS)),
    _i.upstream.not_in(bindparam("stopped", expanding=True)),
)
SUSPECTS: Final = select(func.count()).select_from(ITEM).where(*_READY_HERE, _IS_SUSPECT)
A_READY_ITEM: Final = select(_i.id).where(*_READY_HERE, not_(_IS_SUSPECT)).limit(1)

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
RUNNING: Final = (
    select(func.count())
    .select_from(ITEM)
    .where(_i.batch_id == bindparam("batch_id"), _i.state == const(ItemState.RUNNING, literal_execute=True))
)
RESERVE: Final = (
    update(BATCH).where(_b.id == bindparam("batch_id")).values(reserved=_b.reserved + bindparam("reserves"))
)
NEXT_DUE: Final = select(func.min(_i.due_at)).where(
    _i.batch_id == bindparam("batch_id"),
    _i.state == const(ItemState.WAITING, literal_execute=True),
    _i.due_at > bindparam("now", type_=_i.due_at.type),  # what is due and was not claimed waits for something else
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
_MORE_CLOSED = sum((bindparam(f"more_{state}", type_=Integer()) for state in sorted(CLOSED_ITEMS)), const(0))
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
        fruitless=case((_MORE_CLOSED > 0, 0), else_=_b.fruitless),
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
CLOSE_ITEMS: Final = (
    update(ITEM)
    .where(_i.id.in_(bindparam("ids", expanding=True)))
    .values(
        state=bindparam("to"),
        error_kind=bindparam("kind"),
        error=bindparam("said"),
        closed_at=bindparam("now", type_=_i.closed_at.type),
        lane=null(),
        reserved=0,
    )
)
CANCEL_ITEMS: Final = (
    update(ITEM)
    .where(_i.batch_id == bindparam("of_batch"), _i.state.in_(sorted(OPEN_ITEMS)))
    .values(state=ItemState.CANCELLED, closed_at=bindparam("now", type_=_i.closed_at.type), lane=null(), reserved=0)
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
MARK_BATCH: Final = (
    update(BATCH).where(_b.id == bindparam("batch_id")).values(state=bindparam("to"), reason=bindparam("why"))
)
MOVE_BATCH: Final = MARK_BATCH.values(
    driver=null(), beat_at=null(), closed_at=bindparam("closed", type_=_b.closed_at.type)
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
        held=False,
        driver=bindparam("by"),
        driver_runs=_b.driver_runs + 1,
        fruitless=_b.fruitless + 1,
        deadline_at=bindparam("until", type_=_b.deadline_at.type),
        beat_at=bindparam("now", type_=_b.beat_at.type),
        started_at=func.coalesce(_b.started_at, bindparam("now", type_=_b.beat_at.type)),
        reserved=0,
        reason=null(),
    )
    .returning(_b.epoch)
)
_running = _i.state == const(ItemState.RUNNING, literal_execute=True)
_held = (_i.batch_id == bindparam("of_batch"), _running, _i.lane.in_(bindparam("lanes", expanding=True)))
LANES_OF_BATCH: Final = union(
    select(_i.lane).where(_i.batch_id == bindparam("of_batch"), _running),
    select(_l.id).where(_l.batch_id == bindparam("of_batch")),
)
ALL_LANES: Final = union(
    select(_i.batch_id, _i.lane).where(_running),
    select(_l.batch_id, _l.id),
)
RETURN_ITEMS: Final = (
    update(ITEM)
    .where(*_held)
    .values(state=ItemState.PENDING, lane=null(), reserved=0, crashes=_i.crashes + bindparam("crashed"))
)
RESERVED_BY: Final = select(func.coalesce(func.sum(_i.reserved), 0)).where(*_held)
RESERVED_FOR: Final = select(func.coalesce(func.sum(_i.reserved), 0)).where(_i.id.in_(bindparam("ids", expanding=True)))
POISONED_ITEMS: Final = (
    select(_i.id)
    .join(LANE, _l.id == _i.lane)
    .where(*_held, _l.alone, _i.crashes >= bindparam("least"), _IS_SUSPECT)
    .order_by(_i.id)
)
RECORD_CRASH: Final = insert(ATTEMPT).from_select(
    ["item_id", "number", "error_kind", "error", "ms", "at"],
    select(
        _i.id,
        _i.starts,
        const(ErrorKind.UNKNOWN_OUTCOME),
        const("The lane or its driver ended before this attempt was recorded."),
        const(0),
        bindparam("now", type_=ATTEMPT.c.at.type),
    ).where(*_held),
)
GIVE_UP: Final = (
    update(BATCH)
    .where(_b.id == bindparam("batch_id"))
    .values(driver=null(), beat_at=null(), fruitless=_b.fruitless - bindparam("pardoned"))
)
_unheard = (
    _i.batch_id == bindparam("of_batch"),
    _running,
    _i.lane == bindparam("lane"),
    _i.id.not_in(bindparam("holds", expanding=True)),
)
RESERVED_UNHEARD: Final = select(func.coalesce(func.sum(_i.reserved), 0)).where(*_unheard)
RETURN_UNHEARD: Final = update(ITEM).where(*_unheard).values(state=ItemState.PENDING, lane=null(), reserved=0)
SPEND_ON_ITEM: Final = (
    update(ITEM).where(_i.id == bindparam("item_id")).values(cost_micros=_i.cost_micros + bindparam("more_cost"))
)
SPEND: Final = (
    update(BATCH).where(_b.id == bindparam("batch_id")).values(cost_micros=_b.cost_micros + bindparam("more_cost"))
)
SEE_LANE: Final = select(_l.id).where(_l.id == bindparam("lane_id"))
LANE_BEATS: Final = select(_l.id, _l.beat_at).where(_l.batch_id == bindparam("batch_id"))
DROP_LANES: Final = delete(LANE).where(_l.id.in_(bindparam("lanes", expanding=True)))
BEAT_LANE: Final = (
    update(LANE)
    .where(_l.id == bindparam("lane_id"), _l.epoch == bindparam("at_epoch"))
    .values(beat_at=bindparam("now", type_=_l.beat_at.type))
)
