"""`check`: hold the last night's certificate against the ledger, and say so where something is missing."""

from typing import Any, Final

from prefect import flow
from prefect.states import Completed

from flows.dispatch import A_DAY
from muster import signals
from muster.certificate import summary
from muster.errors import WorkFailed
from muster.firing import recorded
from muster.ledger import Book
from muster.ledger.runs import CHECK
from muster.limits import mode_for
from muster.settings import Settings
from muster.verifying import verify
from muster.wiring import open_book
from tasks.report import report_certificate

MOST_GAPS: Final = 20


@flow(name="check", persist_result=False)
async def check(key: str | None = None, coverage: float | None = None) -> dict[str, Any]:
    """Verify a night's run, and fail where too few of its items are closed or its sums do not match.

    Args:
        key: The run's key. Left empty, the last night's; that none began for a day is found here too.
        coverage: The part of the expected items that has to be closed, 0 to 1. Left empty, MUSTER_COVERAGE decides.
    """
    settings = Settings.read()
    with signals.watched():
        async with open_book(settings) as book, recorded(book, CHECK) as result:
            verified = await verify(book, await _run_to_check(book, settings, key))
            least = settings.coverage if coverage is None else coverage
            said = summary(verified.certificate)
            result.update(run=verified.certificate["run"], coverage=verified.coverage, gaps=verified.gaps[:MOST_GAPS])
            await report_certificate(verified.certificate, verified.gaps)
            if verified.coverage < least or verified.wrong:
                raise WorkFailed(f"{said} {' '.join(verified.gaps[:3])}")
        return Completed(message=said, data=result)  # type: ignore[return-value]  # the caller gets its data


async def _run_to_check(book: Book, settings: Settings, key: str | None) -> int:
    if key is not None:
        return await book.runs.id_of(key)
    night = await book.runs.night(mode_for(settings), await book.readings.now() - A_DAY)
    if night is None:
        raise WorkFailed("No night's run was opened for more than a day; `muster trigger` starts one now.")
    return int(night["id"])
