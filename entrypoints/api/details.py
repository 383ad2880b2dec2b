"""What is inside a batch: its items and its log, a page at a time."""

from typing import Annotated, Final

from fastapi import APIRouter, Query

from entrypoints.api.desk import TOKEN, At, Who, batch_for, cut, one_more
from entrypoints.api.kinds import USUAL_PAGE, BatchId, Cursor, ItemCursor, Limit, Moment
from entrypoints.api.problems import refusals
from entrypoints.api.shapes import EventPage, ItemPage, event_of, item_of
from muster.ledger.journal import Level
from muster.ledger.pages import WhichEvents
from muster.states import ItemState

router: Final = APIRouter(
    prefix="/batches/{batch_id}", tags=["batches"], dependencies=[TOKEN], responses=refusals(404, 422)
)


@router.get("/items")
async def items(
    batch_id: BatchId,
    desk: At,
    who: Who,
    state: ItemState | None = None,
    cursor: ItemCursor = None,
    limit: Limit = USUAL_PAGE,
) -> ItemPage:
    """List a batch's items with their outcomes, in the order in which they were planned."""
    await batch_for(who, desk.book, batch_id)
    rows, following = cut(await desk.book.pages.items(batch_id, state, one_more(limit, cursor)), limit, "seq")
    return ItemPage(items=[item_of(row) for row in rows], next=following)


@router.get("/events")
async def events(
    batch_id: BatchId,
    desk: At,
    who: Who,
    start: Annotated[Moment | None, Query(alias="from", description="At or after a moment (RFC 3339).")] = None,
    end: Annotated[Moment | None, Query(alias="to", description="Before a moment (RFC 3339).")] = None,
    level: Level | None = None,
    cursor: Cursor = None,
    limit: Limit = USUAL_PAGE,
) -> EventPage:
    """List a batch's log, newest first."""
    await batch_for(who, desk.book, batch_id)
    which = WhichEvents(start, end, level)
    rows, following = cut(await desk.book.pages.events(batch_id, which, one_more(limit, cursor)), limit, "id")
    return EventPage(events=[event_of(row) for row in rows], next=following)
