"""Reconciling: judge every open batch by what the ledger says, then mend it.

A batch whose driver beats is left alone however slow it is, and one that makes progress is never given up.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from muster.errors import Unreachable
from muster.ledger import Book
from muster.ledger.beats import is_alive, silence
from muster.ledger.mending import CALM, Judgement, Seen, Verdict
from muster.ledger.standing import deadline_passed
from muster.planning import open_batches
from muster.settings import Settings
from muster.states import OPEN_BATCHES, WORKING_BATCHES, BatchState

MARGIN_S: Final = 0.5
LOST: Final = timedelta(minutes=1)  # a run that was opened longer ago has lost who opened it
FRUITLESS_DRIVERS: Final = 10  # drivers in a row that ended before an item was closed


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one batch, or of one run where there is no batch to name."""

    run_id: int
    batch_id: int | None
    name: str
    verdict: Verdict
    reason: str
    look_again_s: float | None = None


def judge(seen: Seen, now: datetime) -> Judgement:
    """The verdict over one batch, and why; pure."""
    if seen.state in WORKING_BATCHES and seen.remaining == 0:
        return Judgement(Verdict.CLOSE, "every item is closed")
    if seen.state is BatchState.QUEUED and seen.held:
        return Judgement(Verdict.AT_REST, "it is held until somebody starts it")
    if seen.state in OPEN_BATCHES and seen.deadline_at is not None and now >= seen.deadline_at:
        return Judgement(Verdict.FAIL, deadline_passed(seen.id, seen.deadline_at))
    match seen.state:
        case BatchState.IN_PROGRESS:
            return _at_work(seen, now)
        case BatchState.QUEUED:
            return _in_line(seen, now)
        case _:
            return _at_rest(seen, now)


def _at_work(seen: Seen, now: datetime) -> Judgement:
    heard = f"{seen.driver or 'its driver'}, {silence(seen.beat_at, now)}"
    if not is_alive(seen.beat_at, now, seen.stale_after):
        return _fruitless(seen) or Judgement(Verdict.TAKE_OVER, f"left by {heard}")
    if seen.beat_at is None or is_alive(seen.beat_at, now, seen.stale_after / 2):
        return Judgement(Verdict.HEALTHY, f"worked by {heard}")
    left = seen.stale_after - (now - seen.beat_at)
    return Judgement(Verdict.HEALTHY, f"worked by {heard}", left.total_seconds())


def _in_line(seen: Seen, now: datetime) -> Judgement:
    if seen.waits_for is not None:
        return Judgement(Verdict.HEALTHY, f"waits for batch {seen.waits_for} of the same client and workload")
    if given_up := _fruitless(seen):
        return given_up
    if seen.has_driver:
        return Judgement(Verdict.HEALTHY, "in line, a driver is there")
    if not seen.driver_runs and now - seen.created_at < seen.stale_after:
        return Judgement(Verdict.HEALTHY, "opened a moment ago")
    return Judgement(Verdict.START, "no driver is there to take it")


def _at_rest(seen: Seen, now: datetime) -> Judgement:
    if seen.silent_lanes or (seen.driver and not is_alive(seen.beat_at, now, seen.stale_after)):
        return Judgement(Verdict.CLEAR, f"it is {seen.state}, and its driver or lanes fell silent")
    calls = "" if seen.state in OPEN_BATCHES else "; its last calls finish"
    return Judgement(Verdict.AT_REST, f"it is {seen.state}{calls}")


def _fruitless(seen: Seen) -> Judgement | None:
    if seen.fruitless < FRUITLESS_DRIVERS:
        return None
    said = f"{seen.fruitless} drivers in a row ended before an item was closed"
    return Judgement(Verdict.FAIL, f"{said}; `muster show {seen.id}` says how, `muster resume {seen.id}` goes on")


async def look(book: Book) -> list[Finding]:
    """What reconciling would do, and why, for each open batch and each run that is amiss; nothing is changed."""
    batches, now = await book.mending.look()
    judged = [(seen, judge(seen, now)) for seen in batches]
    found = [
        Finding(it.run_id, it.id, f"{it.client_id} {it.workload}", its.verdict, its.reason, its.look_again_s)
        for it, its in judged
    ]
    cut_off = [(it, Verdict.START, "its batches were never all opened") for it in await book.runs.half_planned(LOST)]
    over = [(it, Verdict.CLOSE, "all its batches are closed") for it in await book.runs.over()]
    return found + [Finding(run["id"], None, run["key"], verdict, why) for run, verdict, why in (*cut_off, *over)]


async def reconcile(book: Book, settings: Settings) -> list[Finding]:
    """Judge every open batch and run, and mend what is amiss.

    A queued batch with the verdict `start` is left to whoever can start a driver.
    """
    return [await _mend_alone(book, settings, finding) for finding in await look(book)]


async def reconcile_surely(book: Book, settings: Settings) -> list[Finding]:
    """Reconcile once, for those who do not come back soon: a driver that missed beats is looked at again."""
    found = await reconcile(book, settings)
    again = [it.look_again_s for it in found if it.look_again_s is not None]
    if not again:
        return found
    await asyncio.sleep(max(again) + MARGIN_S)
    return await reconcile(book, settings)


async def _mend_alone(book: Book, settings: Settings, found: Finding) -> Finding:
    """Mend one; what cannot be mended keeps nobody from mending the others."""
    try:
        return await _mend(book, settings, found)
    except Unreachable:
        raise
    except Exception as error:  # noqa: BLE001
        return replace(found, verdict=Verdict.STUCK, reason=f"{found.reason}; it could not be mended: {error}")


async def _mend(book: Book, settings: Settings, found: Finding) -> Finding:
    if found.batch_id is None:
        await (open_batches(book, settings, found.run_id) if found.verdict is Verdict.START else _close(book, found))
        return found
    if found.verdict in {*CALM, Verdict.START}:
        return found
    mended = await book.mending.mend(found.batch_id, judge)
    await _close(book, found)
    return replace(found, verdict=mended.verdict, reason=mended.reason)


async def _close(book: Book, found: Finding) -> None:
    await book.runs.close(found.run_id)


def wants_driver(findings: Sequence[Finding]) -> bool:
    """Whether batches are queued that nobody takes."""
    return any(it.verdict in {Verdict.START, Verdict.TAKE_OVER} for it in findings)
