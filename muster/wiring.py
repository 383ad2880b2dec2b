"""The composition root: settings → ledger, way out, lane. Nothing else puts these together."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from muster import signals
from muster.attempts import Job
from muster.engine import Lane
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.limits import Limits
from muster.settings import Settings
from muster.upstreams.caller import Caller
from muster.workloads import workload_named


@asynccontextmanager
async def open_book(settings: Settings) -> AsyncIterator[Book]:
    """The ledger, reachable and, where it is the embedded default, of this version's schema.

    Raises:
        Unreachable: it does not answer.
        ConfigurationError: its schema is older than this version.
    """
    async with Book(settings.ledger_url, stale_after=timedelta(seconds=settings.stale_seconds)) as book:
        await book.prepare(upgrade=settings.database_url is None)
        yield book


async def job_of(book: Book, lease: Lease, settings: Settings, *, alone: bool = False) -> Job:
    """What a lane needs of its batch, from the limits that were frozen into it."""
    batch = await book.readings.batch(lease.batch_id)
    workload = workload_named(batch["workload"], settings)
    limits = Limits.model_validate(batch["limits"])
    if alone:
        limits = limits.model_copy(update={"in_flight": 1})
    return Job(lease, workload, limits, workload.terms(limits), tuple(batch["upstreams"]), alone)


async def work_lane(
    book: Book, lease: Lease, settings: Settings, *, name: str | None = None, alone: bool = False
) -> Counter[str]:
    """Work a batch as one lane, with a way out of its own."""
    async with Caller() as caller:
        job = await job_of(book, lease, settings, alone=alone)
        return await Lane(book, caller, settings, job, signals.stopping, name).work()
