"""What is ordered of a batch: start, pause, resume, cancel, redrive."""

from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from entrypoints.api.desk import TOKEN, At, Desk, Who, batch_for
from entrypoints.api.kinds import STRICT, BatchId, Flag, Moment
from entrypoints.api.problems import refusals
from entrypoints.api.shapes import Batch, batch_of
from muster.errors import WrongState
from muster.outcomes import ErrorKind
from muster.states import BatchState

router: Final = APIRouter(
    prefix="/batches/{batch_id}", tags=["orders"], dependencies=[TOKEN], responses=refusals(404, 409, 422)
)
FULL: Final = "As many started batches as may be are worked here; try again in a moment, or wait in line (queue=true)"
InLine = Annotated[Flag, Query(description="Wait in line where another batch of the client and workload is at work.")]


class Again(BaseModel):
    """Which failed items are meant; left out, all of them."""

    model_config = STRICT

    kinds: list[Annotated[ErrorKind, Field(strict=False)]] = Field([], description="only items of these causes")
    since: Moment | None = Field(None, description="only items that failed at or after a moment (RFC 3339)")


@router.post("/start", status_code=202)
async def start(batch_id: BatchId, desk: At, who: Who, queue: InLine = False) -> Batch:
    """Begin a queued batch now; it goes on without the caller.

    409 where it is not queued, or where the client has another batch of this workload in progress or paused; with
    `queue=true` it waits in line then, and begins by itself.
    """
    row = await batch_for(who, desk.book, batch_id)
    if queue:
        await desk.book.orders.let_go(batch_id)
        return await _now(desk, batch_id)
    if row["state"] != BatchState.QUEUED:
        raise WrongState(f"Batch {batch_id} is {row['state'].replace('_', ' ')}; only a queued batch can be started.")
    if desk.works.is_full:
        raise HTTPException(503, FULL, headers={"Retry-After": "5"})
    lease = await desk.works.take(batch_id)
    try:
        return await _now(desk, batch_id)
    finally:  # only now, so that the caller need not wait for the first calls
        desk.works.drive(lease)


@router.post("/pause")
async def pause(batch_id: BatchId, desk: At, who: Who) -> Batch:
    """Begin no more calls; what is in flight finishes and is recorded."""
    await batch_for(who, desk.book, batch_id)
    await desk.book.orders.pause(batch_id)
    return await _now(desk, batch_id)


@router.post("/resume")
async def resume(batch_id: BatchId, desk: At, who: Who) -> Batch:
    """Let a paused or failed batch go on where it stood, with a deadline of its own."""
    await batch_for(who, desk.book, batch_id)
    await desk.book.orders.resume(batch_id)
    return await _now(desk, batch_id)


@router.post("/cancel")
async def cancel(batch_id: BatchId, desk: At, who: Who) -> Batch:
    """End the batch now: its open items are cancelled, what is finished is kept."""
    row = await batch_for(who, desk.book, batch_id)
    await desk.book.orders.cancel(batch_id)
    await desk.book.runs.close(row["run_id"])
    return await _now(desk, batch_id)


@router.post("/redrive", responses=refusals(413))
async def redrive(batch_id: BatchId, desk: At, who: Who, asked: Again | None = None) -> Batch:
    """Open failed items again and queue the batch; what succeeded is not repeated.

    404 where no failed item is meant.
    """
    await batch_for(who, desk.book, batch_id)
    meant = asked or Again(kinds=[], since=None)
    await desk.book.orders.redrive(batch_id, meant.kinds, meant.since)
    return await _now(desk, batch_id)


async def _now(desk: Desk, batch_id: int) -> Batch:
    return batch_of(await desk.book.readings.batch(batch_id))
