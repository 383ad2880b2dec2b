"""Batches: made, listed, shown."""

from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from entrypoints.api.desk import TOKEN, At, Who, batch_for, cut, one_more
from entrypoints.api.gate import Caller
from entrypoints.api.kinds import (
    MOST_NAMED,
    STRICT,
    USUAL_PAGE,
    BatchId,
    Cursor,
    Limit,
    Moment,
    Number,
    Whole,
    Word,
    Workload,
)
from entrypoints.api.problems import refusals
from entrypoints.api.shapes import Batch, BatchPage, Cause, WholeBatch, batch_of
from muster.errors import NotFound
from muster.ledger import Book
from muster.ledger.pages import WhichBatches
from muster.ledger.tables import PRIORITIES, USUAL_PRIORITY
from muster.limits import mode_for
from muster.planning import Wanted, moment_key, open_held
from muster.states import BatchState

router: Final = APIRouter(tags=["batches"], dependencies=[TOKEN])


class NewBatch(BaseModel):
    """What a batch is to be."""

    model_config = STRICT | {
        "json_schema_extra": {"examples": [{"client": "acme", "workload": "profiles", "profiles": ["ada"]}]}
    }

    client: Word
    workload: Workload
    profiles: list[Number | Word] | None = Field(
        None,
        min_length=1,
        max_length=MOST_NAMED,
        description="Ids, handles or platform/handle; of these the ones that are due are taken. Left out: all.",
    )
    niche: Word | None = Field(None, description="stories: only this niche of the client, up to its daily target.")
    priority: Annotated[int, Field(ge=min(PRIORITIES), le=max(PRIORITIES)), Whole] = Field(
        USUAL_PRIORITY, description="1 is begun first."
    )


@router.post("/batches", status_code=201, responses=refusals(404, 409, 413, 422))
async def create(asked: NewBatch, desk: At, who: Who, response: Response) -> Batch:
    """Make a batch, which is held until it is started.

    It takes what is due within the client's limits; where that is nothing, or where the client takes no part, the
    answer is 409 and nothing is made.
    """
    only = await _only(desk.book, who, asked)
    key = f"{moment_key('api', await desk.book.readings.now())}:{uuid4().hex[:8]}"
    wanted = Wanted(
        key,
        "api",
        mode_for(desk.settings),
        (asked.workload,),
        (asked.client,),
        started_by=who.name,
        priority=asked.priority,
        only=only,
    )
    row = await desk.book.readings.batch(await open_held(desk.book, desk.settings, wanted))
    response.headers["Location"] = f"/batches/{row['id']}"
    return batch_of(row)


@router.get("/batches", responses=refusals(422))
async def page(
    desk: At,
    who: Who,
    client: Annotated[Word | None, Query()] = None,
    workload: Annotated[Workload | None, Query()] = None,
    state: BatchState | None = None,
    since: Annotated[Moment | None, Query(description="Only those made at or after a moment (RFC 3339).")] = None,
    cursor: Cursor = None,
    limit: Limit = USUAL_PAGE,
) -> BatchPage:
    """List batches with their statistics, newest first."""
    if client is not None and not who.sees(client):
        return BatchPage(batches=[], next=None)  # as for any client that is not there
    which = WhichBatches(client if who.client is None else who.client, workload, state, since)
    rows, following = cut(await desk.book.pages.batches(which, one_more(limit, cursor)), limit, "id")
    return BatchPage(batches=[batch_of(row) for row in rows], next=following)


@router.get("/batches/{batch_id}", responses=refusals(404, 422))
async def show(batch_id: BatchId, desk: At, who: Who) -> WholeBatch:
    """Show a batch, why its items did not simply succeed, and what is amiss with its upstreams."""
    row = await batch_for(who, desk.book, batch_id)
    causes = [Cause.model_validate(dict(it)) for it in await desk.book.readings.causes(batch_id) if it["why"]]
    troubles = await desk.book.explaining.troubles([batch_id])
    return WholeBatch(**dict(batch_of(row)), mode=row["mode"], causes=causes, troubles=troubles)


async def _only(book: Book, who: Caller, asked: NewBatch) -> dict[str, Any]:
    """What of the client's work is meant, once the client is known to be there for the caller."""
    if not who.sees(asked.client) or not await book.clients.is_there(asked.client):
        raise NotFound(f"There is no client {asked.client!r}.")
    only: dict[str, Any] = {}
    if asked.niche is not None:
        await book.stories.niche(asked.client, asked.niche, await book.readings.now())
        only["niche"] = asked.niche
    return only if asked.profiles is None else only | {"ids": await book.profiles.named(asked.client, asked.profiles)}
