"""`articles`: keywords researched and written about, given in a form or in a file that the worker can read."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.client import client as work_client
from flows.parameters import WorkloadName
from muster import signals
from muster.commissions import CLIENT, FOLDER, MOST_PARALLEL, Commission, commit, summed_up, write_manifest
from muster.errors import BadInput
from muster.keywords import from_file, merge, typed
from muster.ledger import Book
from muster.limits import Mode, mode_for
from muster.settings import Settings
from muster.wiring import open_book
from muster.workloads.articles import Articles


@flow(name="articles", flow_run_name="{client}", persist_result=False)
async def articles(
    keywords: list[str] = [],  # noqa: B006, nobody changes it, and Prefect's forms show it
    file: str | None = None,
    parallel: Annotated[int, Field(ge=1, le=MOST_PARALLEL)] = 1,
    dry_run: bool = False,
    continue_on_error: bool = False,
    output_dir: str = str(FOLDER),
    client: str = CLIENT,
    mode: Mode | None = None,
    run: int | None = None,
) -> dict[str, Any]:
    """Open a batch of articles, and work it as the flow `client`.

    Args:
        keywords: What to write about, one article each.
        file: A file of keywords, as text, CSV or JSON lines, where the worker runs; they come after those above.
        parallel: Keywords at once. One by one, in their order, by default.
        dry_run: Research only; no article is written.
        continue_on_error: Go on after a failure. By default the first one ends it.
        output_dir: The folder, where the worker runs, in which each keyword gets a folder of its own.
        client: Whose articles they are; a client that is not there is made.
        mode: `testing` is a small live sample: 5 keywords at most. Left empty,
            FIRE_AND_FORGET_BATCH_PROCESS_TESTING decides.
        run: The number of a run of articles that is gone on with. Left empty, a new one is opened.
    """
    settings = Settings.read()
    with signals.watched():
        async with open_book(settings) as book:
            run_mode = mode_for(settings, mode)
            if run is None:
                texts, folder = _given(keywords, file), _place(output_dir)
                asked = Commission(texts, folder, run_mode, client, parallel, dry_run, continue_on_error)
                run = int((await commit(book, settings, asked))["run_id"])
            try:
                await work_client(client, [WorkloadName(Articles.name)], run_mode, run)
            finally:
                await book.runs.close(run)
                summary = await _written(book, run)
    return summary


def _given(keywords: list[str], file: str | None) -> tuple[str, ...]:
    given = merge([*typed(keywords), *(from_file(str(_place(file))) if file else ())])
    if not given.texts:
        raise BadInput("No keyword was given: fill in keywords or file.")
    return given.texts


def _place(name: str) -> Path:
    return Path(name).expanduser().absolute()


async def _written(book: Book, run: int) -> dict[str, Any]:
    """The manifest, however it ended; the files' texts are in their folders."""
    (batch,) = await book.readings.batches_of_run(run)
    summary = await summed_up(book, batch)
    return {**summary, "manifest": str(write_manifest(summary))}
