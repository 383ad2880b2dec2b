"""`reconcile`: judge every open batch, mend what is amiss, and see to it that somebody works what is queued."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.dispatch import catch_up, start_drivers
from flows.drive import check, work_queued
from muster import signals
from muster.firing import recorded
from muster.ledger.mending import CALM, Verdict
from muster.ledger.runs import RECONCILE
from muster.reconcile import Finding, reconcile_surely, wants_driver
from muster.report import counted
from muster.settings import Settings
from muster.wiring import open_book
from tasks.report import report_run


@flow(name="reconcile", persist_result=False)
async def reconcile() -> list[dict[str, Any]]:
    """Close, take over, start or fail what needs it; where MUSTER_DISPATCH=inline, work it in this very flow."""
    settings = Settings.read()
    with signals.watched():
        async with open_book(settings) as book, recorded(book, RECONCILE) as result:
            caught_up = await catch_up(book, settings)
            found = await reconcile_surely(book, settings)
            result.update(_counts(found), caught_up=caught_up)
            for run_id in sorted({it.run_id for it in found if it.verdict in {Verdict.CLOSE, Verdict.FAIL}}):
                await report_run(run_id)
            if wants_driver(found):
                if settings.dispatch == "deployment":
                    await start_drivers(settings)
                else:
                    check(await work_queued(book, settings, []))
    amiss = [it for it in found if it.verdict not in CALM]
    said = (
        "; ".join(_line(it) for it in amiss[:5]) or f"{counted(len(found), 'open batch', 'open batches')}, all healthy"
    )
    return Completed(message=said, data=[_data(it) for it in found])  # type: ignore[return-value]  # the caller gets its data


def _counts(found: Sequence[Finding]) -> dict[str, Any]:
    """How many findings there were, by verdict."""
    return {str(verdict): n for verdict, n in Counter(it.verdict for it in found).items()}


def _line(found: Finding) -> str:
    return f"{found.name}: {found.verdict}, {found.reason}"


def _data(found: Finding) -> dict[str, Any]:
    named = {"run": found.run_id, "batch": found.batch_id, "name": found.name}
    return {**named, "verdict": str(found.verdict), "reason": found.reason}
