"""`report`: what the ledger says of a batch or a run, published as Prefect artifacts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from prefect import get_run_logger, task
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from slugify import slugify

from muster.certificate import certificate_markdown, summary
from muster.ledger import Book
from muster.ledger.database import Row
from muster.report import (
    batch_line,
    batch_markdown,
    failure_rows,
    outcome_of,
    percent,
    run_line,
    run_markdown,
)
from muster.settings import Settings
from muster.wiring import open_book

FIRST_LOOK_S: Final = 5.0
LOOK_GROWTH: Final = 1.5  # each pause half as long again: a batch of a minute costs 4 updates, one of 12 hours 20


AWAY_TRIES: Final = 3  # a Prefect server that restarts meanwhile
AWAY_S: Final = 15


@task(
    name="report",
    task_run_name="report batch {batch_id}",
    tags=["muster-report"],
    cache_policy=NO_CACHE,
    retries=AWAY_TRIES,
    retry_delay_seconds=AWAY_S,
)
async def report(batch_id: int) -> None:
    """Publish a batch's report, and the table of its failures if there are any."""
    async with open_book(Settings.read()) as book:
        batch = await book.readings.batch(batch_id)
        causes, slowest = await book.readings.causes(batch_id), await book.readings.slowest(batch_id)
        failures = failure_rows(await book.readings.failures(batch_id))
        troubles = await book.explaining.troubles([batch_id])
    markdown = batch_markdown(batch, causes, slowest, troubles)
    await acreate_markdown_artifact(markdown, key=_key(batch, "report"), description=outcome_of(batch))
    if failures:
        said = f"{batch['failed']} failed items of batch {batch_id}"
        await acreate_table_artifact(failures, key=_key(batch, "failures"), description=said)
    _emit(batch, str(batch["state"]))


@task(
    name="report run",
    task_run_name="report run {run_id}",
    tags=["muster-report"],
    cache_policy=NO_CACHE,
    retries=AWAY_TRIES,
    retry_delay_seconds=AWAY_S,
)
async def report_run(run_id: int) -> dict[str, Any]:
    """Publish a run's report, in which every client and item is accounted for; the same for scripts."""
    async with open_book(Settings.read()) as book:
        run = await book.runs.get(run_id)
        decisions, batches = await book.runs.decisions(run_id), await book.readings.batches_of_run(run_id)
        troubles = await book.explaining.troubles([it["id"] for it in batches])
    markdown = run_markdown(run, decisions, batches, troubles)
    await acreate_markdown_artifact(markdown, key="muster-run", description=run["key"])
    if run["certificate"]:
        await report_certificate(run["certificate"])
    return run_line(run, decisions, batches)


async def report_certificate(certificate: dict[str, Any], gaps: Sequence[str] | None = None) -> None:
    """Publish a run's certificate, and its gaps where somebody has looked for them."""
    markdown = certificate_markdown(certificate, gaps)
    await acreate_markdown_artifact(markdown, key="muster-certificate", description=summary(certificate))


@asynccontextmanager
async def progress_of(book: Book, batch_id: int) -> AsyncIterator[None]:
    """Keep a batch's progress artifact up to date while it is worked."""
    batch = await book.readings.batch(batch_id)
    _emit(batch, "started")
    artifact = await _shown(acreate_progress_artifact(percent(batch), _key(batch, "progress"), outcome_of(batch)))
    updates = asyncio.create_task(_keep_updated(book, batch, artifact))
    try:
        yield
    finally:
        updates.cancel()
        with suppress(asyncio.CancelledError):
            await updates
        await _update(await book.readings.batch(batch_id), artifact)


async def _keep_updated(book: Book, shown: Row, artifact: Any) -> None:
    pause = FIRST_LOOK_S
    while True:
        await asyncio.sleep(pause)
        pause *= LOOK_GROWTH
        batch = await book.readings.batch(shown["id"])
        if batch["remaining"] != shown["remaining"]:
            await _update(batch, artifact)
            _emit(batch, "progress")
            shown = batch


async def _update(batch: Row, artifact: Any) -> None:
    if artifact is not None:
        await _shown(aupdate_progress_artifact(artifact, percent(batch), outcome_of(batch)))


async def _shown(change: Awaitable[Any]) -> Any:
    """The change, if Prefect's API takes it: a server that is away for a while must not stop the work."""
    try:
        return await change
    except Exception as error:  # noqa: BLE001, whatever it is, the ledger has it right
        get_run_logger().warning("The progress could not be shown: %s", error)
        return None


def _emit(batch: Row, what: str) -> None:
    resource = {"prefect.resource.id": f"muster.batch.{batch['id']}", "prefect.resource.name": batch["key"]}
    emit_event(f"muster.batch.{what}", resource, payload=batch_line(batch))


def _key(batch: Row, what: str) -> str:
    """The same for every run, so that the UI keeps an artifact's history."""
    return slugify(f"{batch['client_id']}-{batch['workload']}-{what}")
