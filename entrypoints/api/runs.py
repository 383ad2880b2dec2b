"""Runs: the night's started from outside, all of them listed and proved."""

from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from entrypoints.api.desk import OPERATORS, SECRET, TOKEN, At, Operator, cut, one_more
from entrypoints.api.kinds import STRICT, USUAL_PAGE, Cursor, Limit, RunId
from entrypoints.api.problems import refusals
from entrypoints.api.shapes import Certificate, Decided, Run, RunPage, WholeRun, batch_of, run_of
from muster.errors import NotFound, WrongState
from muster.ledger import Book
from muster.ledger.database import Row
from muster.ledger.runs import NIGHTLY
from muster.limits import mode_for
from muster.planning import Wanted, begin_run, nightly_key
from muster.states import RunState
from muster.workloads import SHELF

router: Final = APIRouter(prefix="/runs", tags=["runs"])


class NewRun(BaseModel):
    """How the night's run is started."""

    model_config = STRICT

    force: bool = Field(False, description="Run again although today's run is there: opens `#2`, `#3`, and so on.")


@router.post("", status_code=202, dependencies=[TOKEN, SECRET], responses=refusals(404, 409, 413, 422))
async def begin(desk: At, who: Operator, asked: NewRun | None = None) -> Run:
    """Open today's nightly run, or go on with it; its batches are opened and worked without the caller."""
    book, settings = desk.book, desk.settings
    mode, force = mode_for(settings), asked is not None and asked.force
    key = nightly_key(await book.readings.now(), settings, mode)
    wanted = Wanted(key, NIGHTLY, mode, tuple(SHELF), (), force, f"{who.name}, by HTTP")
    run_id = await begin_run(book, settings, wanted)
    desk.works.open_run(run_id)
    return run_of(await book.runs.get(run_id))


@router.get("", dependencies=[TOKEN, OPERATORS], responses=refusals(404, 422))
async def page(desk: At, cursor: Cursor = None, limit: Limit = USUAL_PAGE) -> RunPage:
    """List the runs, newest first; those of `reconcile` and `check` among them."""
    rows, following = cut(await desk.book.pages.runs(one_more(limit, cursor)), limit, "id")
    return RunPage(runs=[run_of(row) for row in rows], next=following)


@router.get("/{run_id}", dependencies=[TOKEN, OPERATORS], responses=refusals(404, 422))
async def show(run_id: RunId, desk: At) -> WholeRun:
    """Show a run: every client considered, every batch."""
    row = await _run(desk.book, run_id)
    decisions = await desk.book.runs.decisions(run_id)
    clients = [Decided(id=it.client_id, included=it.included, reason=it.reason) for it in decisions]
    batches = [batch_of(it) for it in await desk.book.readings.batches_of_run(run_id)]
    return WholeRun(**dict(run_of(row)), clients=clients, batches=batches)


@router.get("/{run_id}/certificate", dependencies=[TOKEN, OPERATORS], responses=refusals(404, 409, 422))
async def certificate(run_id: RunId, desk: At) -> Certificate:
    """How the run ended for every client; 409 as long as it goes on."""
    row = await _run(desk.book, run_id)
    if row["state"] == RunState.RUNNING:
        raise WrongState(f"Run {row['key']} is still running; its certificate is written when it ends.")
    if row["certificate"] is None:
        raise NotFound(f"Run {row['key']} opened no batches, and has no certificate.")
    return Certificate.model_validate(row["certificate"])


async def _run(book: Book, run_id: int) -> Row:
    try:
        return await book.runs.get(run_id)
    except NotFound:
        raise NotFound(f"There is no run {run_id}.") from None
