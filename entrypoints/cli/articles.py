"""`muster articles`: keywords researched and written about, a folder each; worked here, or as the flow."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final

import typer

from entrypoints.cli.batches import known_batch
from entrypoints.cli.prefect import quiet_prefect, reach_prefect
from entrypoints.cli.speech import note, say_json
from entrypoints.cli.speech import run as run_async
from entrypoints.cli.writing import following, say_articles, say_plan, write_csv
from muster import signals
from muster.commissions import (
    CLIENT,
    FOLDER,
    MOST_PARALLEL,
    Commission,
    commissioned,
    commit,
    foreseen,
    found_again,
    safe_parallel,
    summed_up,
    way_on,
    worked_as,
    write_manifest,
)
from muster.drafts import check_writable
from muster.errors import BadInput, Busy, ConfigurationError, Interrupted
from muster.keywords import STDIN, from_file, merge, typed
from muster.ledger import Book
from muster.ledger.database import Row
from muster.limits import mode_for
from muster.preflight import KEYS, keyless
from muster.report import counted
from muster.running import work_run
from muster.settings import Settings, variable
from muster.states import BatchState
from muster.wiring import open_book

AUTO: Final = "auto"
MANY: Final = 5  # keywords at once, above which it is said what that may do
PATIENCE: Final = 2  # times the silence after which somebody is dead
GRACE_S: Final = 600.0  # a call in flight is paid for, and may take minutes

KeywordArguments = Annotated[list[str] | None, typer.Argument(metavar="KEYWORD", help="What to write about.")]
FromFile = Annotated[
    list[str] | None,
    typer.Option(
        "--from-file",
        metavar="FILE|-",
        help="A file of them: text, CSV, JSON lines; - is standard input.",
    ),
]
Parallel = Annotated[
    str | None, typer.Option("-p", "--parallel", metavar="N|auto", help="Keywords at once; one, in order, if left out.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Research only: no article is written.")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Say what would be called, cost and take; call nothing.")]
OnError = Annotated[
    bool | None,
    typer.Option("--continue-on-error/--fail-fast", help="Go on after a failure; left out, the first one ends it."),
]
OutputDir = Annotated[Path, typer.Option("-o", "--output-dir", metavar="DIR", help="Where each keyword gets a folder.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="The results as CSV, safe in a spreadsheet.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the same keywords and options, or with --batch.")]
OfBatch = Annotated[int | None, typer.Option("--batch", metavar="ID", help="The batch that --resume goes on with.")]
OfClient = Annotated[str, typer.Option(help="Whose they are; a client that is not there is made.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show nothing while it is worked.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object at the end.")]

HELP: Final = """Research a batch of keywords and write an article about each, into a folder of its own.

Keywords are worked one after the other, or --parallel N at once and never more. The first failure ends it: nothing
new is begun, what is in flight is finished and kept; with --continue-on-error all are worked, and the failures are
told at the end. Ctrl+C does the same as a failure, a second one ends at once. --resume goes on and pays for nothing
twice.

Exit codes: 0 all written, with --continue-on-error all closed; 1 some failed or are open; 2 usage; 3 configuration
or connection; 130 interrupted.

\b
muster articles "solar roofs" "heat pumps"
muster articles --from-file keywords.csv --parallel 3 --output-dir ./production
cat keywords.txt | muster articles --from-file - --continue-on-error --csv results.csv
muster articles "competitor one" "competitor two" --dry-run --parallel 2
muster articles --from-file keywords.jsonl --parallel auto --plan
muster articles "solar roofs" "heat pumps" --resume
muster articles --resume --batch 12
"""


def articles(
    context: typer.Context,
    keywords: KeywordArguments = None,
    from_files: FromFile = None,
    parallel: Parallel = None,
    dry_run: DryRun = False,
    plan: PlanOnly = False,
    continue_on_error: OnError = None,
    output_dir: OutputDir = FOLDER,
    csv: Csv = None,
    resume: Resume = False,
    batch: OfBatch = None,
    client: OfClient = CLIENT,
    no_progress: NoProgress = False,
    as_json: AsJson = False,
) -> None:
    """Research a batch of keywords and write an article about each, into a folder of its own."""
    given = merge([*typed(keywords or ()), *_of_files(from_files or ())])
    _check_words(context, bool(given.texts), resume, batch, csv)
    for twice in given.twice:
        note(f"Left out: {twice}.")
    settings = Settings.read()
    asked = Commission(
        given.texts,
        output_dir.expanduser().absolute(),
        mode_for(settings),
        client,
        dry_run=dry_run,
        continue_on_error=bool(continue_on_error),
    )
    if plan:
        run_async(_foresee(settings, asked, parallel, as_json))
        return
    how = _How(parallel, continue_on_error, resume, batch, show=not (no_progress or as_json))
    summary = run_async(_work(settings, asked, how))
    _end(summary, csv, as_json)


class _How:
    """How a commission is to be worked, as it was typed."""

    def __init__(
        self, parallel: str | None, continue_on_error: bool | None, resume: bool, batch: int | None, *, show: bool
    ) -> None:
        self.parallel, self.continue_on_error, self.resume, self.batch = parallel, continue_on_error, resume, batch
        self.show = show


def _of_files(names: Sequence[str]) -> Any:
    if names.count(STDIN) > 1:
        raise BadInput("--from-file - may stand once: standard input is read once.")
    stdin = sys.stdin.buffer.read() if STDIN in names and sys.stdin is not None else b""
    for name in names:
        yield from from_file(name, stdin)


def _check_words(context: typer.Context, has_keywords: bool, resume: bool, batch: int | None, csv: Path | None) -> None:
    if batch is not None and (has_keywords or not resume):
        raise BadInput("--batch ID goes with --resume, and without keywords.")
    if not has_keywords and batch is None:
        context.fail("Missing argument 'KEYWORD...': give keywords, or --from-file.")
    if csv is not None and not csv.absolute().parent.is_dir():
        raise BadInput(f"{csv}: its folder is not there.")


async def _foresee(settings: Settings, asked: Commission, parallel: str | None, as_json: bool) -> None:
    async with open_book(settings) as book:
        whole = replace(asked, parallel=await _parallel(book, parallel) or 1)
        said = await foreseen(book, settings, whole)
    say_json(said) if as_json else say_plan(said)


async def _parallel(book: Book, told: str | None) -> int | None:
    """How many keywords at once; None if nothing was said."""
    if told is None:
        return None
    if told.strip().lower() == AUTO:
        n, why = await safe_parallel(book, os.cpu_count() or 1)
        note(f"--parallel auto is {n}: {why}.")
        return n
    if not told.strip().isdecimal() or not 1 <= int(told[:9]) <= MOST_PARALLEL:
        raise BadInput(f"--parallel {told[:20]!r} must be a whole number from 1 to {MOST_PARALLEL}, or `auto`.")
    if int(told) > MANY:
        note(f"Warning: {told} keywords at once may meet the upstreams' limits; --parallel auto finds a safe number.")
    return int(told)


async def _work(settings: Settings, asked: Commission, how: _How) -> dict[str, Any]:
    settings = settings.model_copy(update={"stop_grace_seconds": GRACE_S})
    with signals.watched():
        async with open_book(settings) as book:
            batch = await _batch(book, settings, asked, how)
            await _say_line(book, batch)
            async with following(book, batch["id"], show=how.show):
                if settings.prefect_api_url:
                    await _as_flow(batch)
                else:
                    for why in (await work_run(book, settings, batch["run_id"])).values():
                        note(str(why))
            return await _summary(book, batch["id"])


async def _batch(book: Book, settings: Settings, asked: Commission, how: _How) -> Row:
    """The batch to work: the one that is gone on with, or a new one."""
    parallel = await _parallel(book, how.parallel)
    if not how.resume:
        await _check(settings, asked)
        return await commit(book, settings, replace(asked, parallel=parallel or 1))
    batch = await (_known(book, how.batch) if how.batch is not None else found_again(book, asked))
    dry_run = bool(batch["request"]["dry_run"])
    await _check(settings, replace(asked, folder=Path(batch["request"]["output_dir"]), dry_run=dry_run))
    opened = await _opened_again(book, batch, worked_as(batch, parallel, how.continue_on_error))
    if opened is not None:
        again = f", {counted(opened, 'failed keyword')} among them" if opened else ""
        note(f"Going on with batch {batch['id']}: {counted(batch['remaining'] + opened, 'keyword')} to do{again}.")
    return await book.readings.batch(batch["id"])


async def _opened_again(book: Book, batch: Row, limits: Mapping[str, Any]) -> int | None:
    """How many failed keywords were opened again; None where somebody else works the batch.

    A driver that was killed a moment ago seems to live, as do its calls, until it has been silent for long enough.
    """
    end, said = monotonic() + PATIENCE * book.stale_after_s, False
    while True:
        try:
            if (opened := await book.orders.go_on(batch["id"], limits)) is not None:
                return opened
            seen = await book.readings.batch(batch["id"])
            if seen["beat_at"] != batch["beat_at"] or signals.stopping():
                return None
        except Busy:
            if monotonic() > end or signals.stopping():
                raise
        if not said:
            said = True
            note(f"Batch {batch['id']} was worked a moment ago; after {book.stale_after_s:g} s of silence it goes on.")
        await asyncio.sleep(min(0.5, book.stale_after_s / 10))


async def _known(book: Book, batch_id: int) -> Row:
    await known_batch(book, batch_id)
    return await commissioned(book, batch_id)


async def _check(settings: Settings, asked: Commission) -> None:
    """Refuse before anything is opened what could not be brought to its end."""
    lacking = keyless(settings, ("tavily",) if asked.dry_run else ("tavily", "openai"))
    if lacking:
        named = " and ".join(variable(KEYS[name]) for name in lacking)
        raise ConfigurationError(f"Not set: {named}. Set it in the environment and run again.")
    if settings.prefect_api_url:
        await reach_prefect(settings)
    try:
        check_writable(asked.folder)
    except OSError as wrong:
        raise BadInput(f"{asked.folder}: {(wrong.strerror or 'cannot be written').lower()}.") from None


async def _say_line(book: Book, batch: Row) -> None:
    """Why nothing may happen for a while."""
    other = await book.readings.at_work(batch["client_id"], batch["workload"])
    if other is None:
        return
    if other["id"] != batch["id"]:
        note(f"Batch {batch['id']} waits for batch {other['id']} of the same client, which {other['driver']} works.")
    else:
        note(f"Batch {batch['id']} is worked by {batch['driver']}; this shows how it ends.")


async def _as_flow(batch: Row) -> None:
    """Work it as the flow `articles`, so that it is seen in Prefect's UI."""
    quiet_prefect()
    os.environ.update({"MUSTER_STOP_GRACE_SECONDS": str(GRACE_S)})
    from flows.articles import articles as flow  # noqa: PLC0415, importing Prefect takes seconds

    await flow(client=batch["client_id"], run=batch["run_id"], return_state=True)


async def _summary(book: Book, batch_id: int) -> dict[str, Any]:
    """How the batch stands, kept beside its drafts."""
    batch = await book.readings.batch(batch_id)
    summary = await summed_up(book, batch)
    try:
        manifest: str | None = str(write_manifest(summary))
    except OSError as wrong:
        manifest = None
        note(f"The manifest could not be written: {summary['output_dir']}: {(wrong.strerror or str(wrong)).lower()}.")
    is_open = batch["remaining"] or batch["failed"]
    ends_well = batch["state"] == BatchState.DONE and (not batch["failed"] or not batch["limits"]["fail_fast"])
    return {**summary, "manifest": manifest, "success": ends_well, "resume": way_on(batch) if is_open else None}


def _end(summary: dict[str, Any], csv: Path | None, as_json: bool) -> None:
    if csv is not None:
        write_csv(csv, summary)
    say_json(summary) if as_json else say_articles(summary)
    if signals.stopping() and summary["remaining"]:
        raise Interrupted(f"Interrupted; everything finished is kept. {summary['resume']}")
    raise typer.Exit(0 if summary["success"] else 1)
