"""`muster batches` and `show`: what the ledger says."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Final

import typer

from entrypoints.cli.speech import pick, run, say, say_json, say_table
from muster.errors import BadInput, NotFound
from muster.ledger import Book
from muster.ledger.columns import MOST_ID
from muster.report import COUNTS, batch_line, dollars, outcome_of, stopped_line
from muster.settings import Settings
from muster.states import BatchState
from muster.wiring import open_book

UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
HEAD: Final = ("batch", "client", "workload", "state", "items", "outcome")
COLUMNS: Final = ("id", "client_id", "workload", "state", "total")
FAILURE: Final = ("item", "cause", "tries", "error")
MOST_LINES: Final = 20  # of failed items and of the log; `export` gives every item
MOST_DIGITS: Final = 19  # of a number that is typed
BatchId = Annotated[int, typer.Argument(help="The batch's number, as `muster batches` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def batches(
    since: Annotated[str, typer.Option(help="How far back: 90m, 24h, 7d.")] = "24h", as_json: Json = False
) -> None:
    """List the batches of the last day by their run, the newest first.

    \b
    muster batches --since 7d
    muster batches --since 90m --json
    """  # noqa: D301, click's own sign for "do not wrap"
    back = span(since)

    async def work() -> list[Mapping[str, Any]]:
        async with open_book(Settings.read()) as book:
            return list(await book.readings.batches_since(await book.readings.now() - back))

    rows = run(work())
    if as_json:
        say_json({"batches": [{**batch_line(row), "run": row["run_key"]} for row in rows]})
    elif rows:
        _say_by_run(rows)
    else:
        say(f"No batches in the last {since}.")


def show(batch: BatchId, as_json: Json = False) -> None:
    """Show a batch: its counts, why items did not simply succeed, its failed items, its log.

    \b
    muster show 12
    muster show 12 --json
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> dict[str, Any]:
        async with open_book(Settings.read()) as book:
            return await _whole(book, batch)

    whole = run(work())
    if as_json:
        say_json(whole)
        return
    _say_counts(whole)
    if whole["causes"]:
        say_table(("items", "state", "cause"), [pick(it, "n", "state", "why") for it in whole["causes"]], "\nCauses")
    if whole["failures"]:
        rows = [pick(it, "item", "tries", "cause", "error") for it in whole["failures"]]
        say_table(("item", "tries", "cause", "error"), rows, "\nFailed items")
    log = [pick(it, "at", "level", "message") for it in whole["events"]]
    say_table(("at", "level", "message"), log, "\nLog, newest first, times in UTC")
    if len(whole["failures"]) == MOST_LINES:
        say(f"\nEvery item: muster export {batch}")


def _say_by_run(rows: Sequence[Mapping[str, Any]]) -> None:
    for number, (run_key, of_run) in enumerate(groupby(rows, key=itemgetter("run_key"))):
        batches = list(of_run)
        say(f"{chr(10) if number else ''}Run {run_key}, {batches[0]['mode']} mode")
        say_table(HEAD, [[*pick(row, *COLUMNS), outcome_of(row)] for row in batches])
        for row in batches:
            if row["state"] == BatchState.FAILED:
                say(stopped_line(row))


def _say_counts(whole: Mapping[str, Any]) -> None:
    row = whole["batch"]
    say(f"Batch {row['id']}: {row['workload']} for {row['client']}, {row['state']}")
    say(f"Run {whole['run']}, {whole['mode']} mode: {whole['outcome']}; cost {dollars(whole['cost_micros'])}")
    if whole["reason"]:
        say(f"Reason: {whole['reason']}")
    for line in whole["troubles"]:
        say(line)
    say("")
    say_table(COUNTS, [pick(row, *COUNTS)])


async def known_batch(book: Book, batch_id: int) -> Mapping[str, Any]:
    """A batch; a number that no database counts to is only unknown.

    Raises:
        NotFound: no such batch.
    """
    if not 0 < batch_id <= MOST_ID:
        raise NotFound(f"There is no batch {batch_id}; `muster batches` lists them.")
    return await book.readings.batch(batch_id)


async def _whole(book: Book, batch_id: int) -> dict[str, Any]:
    row = await known_batch(book, batch_id)
    causes = [dict(it) for it in await book.readings.causes(batch_id) if it["why"]]
    failed = await book.readings.failures(batch_id, MOST_LINES)
    events = [dict(it) for it in await book.readings.events(batch_id, MOST_LINES)]
    return {
        "batch": batch_line(row),
        "run": row["run_key"],
        "outcome": outcome_of(row),
        **{name: row[name] for name in ("mode", "reason", "cost_micros", "limits", "driver", "beat_at", "created_at")},
        "troubles": await book.explaining.troubles([batch_id]),
        "causes": causes,
        "failures": [dict(zip(FAILURE, pick(it, "key", "error_kind", "tries", "error"), strict=True)) for it in failed],
        "events": events,
    }


def span(text: str) -> timedelta:
    """A span of time such as 90m, 24h or 7d.

    Raises:
        BadInput: it is none.
    """
    found = re.fullmatch(r"(\d{1,5})([mhd])", text.strip())
    if found is None:
        raise BadInput(f"--since {text!r} is no span of time; try 90m, 24h or 7d.")
    return timedelta(**{UNITS[found.group(2)]: int(found.group(1))})
