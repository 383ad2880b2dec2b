"""A batch as it goes on, as server-sent events: how far it is, and every new line of its log."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from entrypoints.api.desk import TOKEN, At, Desk, Who, batch_for
from entrypoints.api.gate import Caller
from entrypoints.api.kinds import MOST_ID, BatchId
from entrypoints.api.problems import refusals
from entrypoints.api.shapes import Batch, batch_of, event_of
from muster import signals
from muster.ledger.pages import Page
from muster.states import CLOSED_BATCHES

LOOK_S: Final = 0.5
ALIVE_S: Final = 15.0  # of silence, before a comment says that the stream is still there
LONGEST_S: Final = 15 * 60.0  # then the reader comes back by itself, and shows its token again
MOST_EVENTS: Final = 500  # of one look
MEDIA_TYPE: Final = "text/event-stream"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_SAID: Final = "`progress` with the batch, `log` with a line of its log and its number as the id, `end` at the last."

router: Final = APIRouter(tags=["batches"], dependencies=[TOKEN])
STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}, "description": _SAID}
}
LastId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=MOST_ID, description="Go on after this one.")]


@router.get(
    "/batches/{batch_id}/stream",
    response_class=StreamingResponse,
    responses=STREAM | refusals(404, 422),
)
async def stream(batch_id: BatchId, desk: At, who: Who, last_event_id: LastId = None) -> StreamingResponse:
    """Follow a batch until it is closed; without `Last-Event-ID`, from now on."""
    await batch_for(who, desk.book, batch_id)
    after = await desk.book.pages.newest_event(batch_id) if last_event_id is None else last_event_id
    return StreamingResponse(_follow(desk, who, batch_id, after or 0), media_type=MEDIA_TYPE, headers=_HEADERS)


async def _follow(desk: Desk, who: Caller, batch_id: int, after: int) -> AsyncIterator[str]:
    """Whatever is new, look after look; the batch is read before its log, so that its last line is never missed."""
    began = said_at = time.monotonic()
    shown: Batch | None = None
    while not signals.stopping() and time.monotonic() - began < LONGEST_S:
        batch = batch_of(await batch_for(who, desk.book, batch_id))
        news = await desk.book.pages.new_events(batch_id, Page(MOST_EVENTS, after))
        for row in news:
            yield _event("log", event_of(row), row["id"])
        after = news[-1]["id"] if news else after
        if batch != shown:
            yield _event("progress", batch, after)
        if batch.state in CLOSED_BATCHES and len(news) < MOST_EVENTS:
            yield _event("end", batch, after)
            return
        if news or batch != shown:
            shown, said_at = batch, time.monotonic()
        elif time.monotonic() - said_at > ALIVE_S:
            said_at = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_S)


def _event(kind: str, data: BaseModel, event_id: int) -> str:
    return f"event: {kind}\nid: {event_id}\ndata: {data.model_dump_json()}\n\n"
