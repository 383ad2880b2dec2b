"""`muster batches`, `show`, `export`: what the ledger says."""

import csv
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import orjson
import typer

from entrypoints.cli.speech import note, pick, run, say, say_json, say_table
from muster.errors import BadInput
from muster.ledger import Book
from muster.report import COUNTS, batch_line, dollars, failure_rows, outcome_of
from muster.settings import Settings
from muster.wiring import open_book

UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
ITEM_COLUMNS: Final = (
    "key",
    "state",
    "tries",
    "error_kind",
    "error",
    "cost_micros",
    "started_at",
    "closed_at",
    "result",
)
BatchId = Annotated[int, typer.Argument(help="The batch's number, as `muster batches` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


class Format(StrEnum):
    """What an export looks like."""

    CSV = "csv"
    JSONL = "jsonl"


def batches(
    since: Annotated[str, typer.Option(help="How far back: 90m, 24h, 7d.")] = "24h", as_json: Json = False
) -> None:
    """List the batches of the last day, newest first."""
    back = _span(since)

    async def work() -> list[Mapping[str, Any]]:
        async with open_book(Settings.read()) as book:
            return list(await book.readings.batches_since(await book.readings.now() - back))

    rows = run(work())
    if as_json:
        say_json({"batches": [{**batch_line(row), "run": row["run_key"]} for row in rows]})
    elif rows:
        head = ("batch", "run", "client", "workload", "state", "items", "remaining", "outcome")
        columns = ("id", "run_key", "client_id", "workload", "state", "total", "remaining")
        say_table(head, [[*pick(row, *columns), outcome_of(row)] for row in rows])
    else:
        say(f"No batches in the last {since}.")


def show(batch: BatchId, as_json: Json = False) -> None:
    """Show a batch: its counts, why items did not simply succeed, its failed items, its log."""

    async def work() -> dict[str, Any]:
        async with open_book(Settings.read()) as book:
            return await _whole(book, batch)

    whole = run(work())
    if as_json:
        say_json(whole)
        return
    row = whole["batch"]
    say(f"Batch {row['id']}: {row['workload']} for {row['client']}, {row['state']}")
    say(f"Run {whole['run']}, {whole['mode']} mode: {whole['outcome']}; cost {dollars(whole['cost_micros'])}")
    if whole["reason"]:
        say(f"Reason: {whole['reason']}")
    say_table(COUNTS, [pick(row, *COUNTS)])
    if whole["causes"]:
        say_table(("state", "cause", "items"), [pick(it, "state", "why", "n") for it in whole["causes"]], "\nCauses")
    if whole["failures"]:
        rows = [pick(it, "item", "cause", "tries", "error") for it in whole["failures"]]
        say_table(("item", "cause", "tries", "error"), rows, "\nFailed items")
    log = [pick(it, "at", "level", "kind", "message") for it in whole["events"]]
    say_table(("at", "level", "kind", "message"), log, "\nLog, newest first")


def export(
    batch: BatchId,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file; left out, standard output.")] = None,
    as_format: Annotated[Format, typer.Option("--format", help="csv or jsonl.")] = Format.CSV,
) -> None:
    """Write every item of a batch with its outcome; the CSV is safe to open in a spreadsheet."""

    async def work() -> int:
        async with open_book(Settings.read()) as book:
            await book.readings.batch(batch)
            with _opened(output) as file:
                return await _write_items(book, batch, file, as_format)

    written = run(work())
    note(f"{written} items of batch {batch} written{f' to {output}' if output else ''}.")


async def _whole(book: Book, batch_id: int) -> dict[str, Any]:
    row = await book.readings.batch(batch_id)
    causes = [dict(it) for it in await book.readings.causes(batch_id) if it["why"]]
    events = [dict(it) for it in await book.readings.events(batch_id, 20)]
    return {
        "batch": batch_line(row),
        "run": row["run_key"],
        "outcome": outcome_of(row),
        **{name: row[name] for name in ("mode", "reason", "cost_micros", "limits", "driver", "beat_at", "created_at")},
        "causes": causes,
        "failures": failure_rows(await book.readings.failures(batch_id, 20)),
        "events": events,
    }


async def _write_items(book: Book, batch_id: int, file: TextIO, as_format: Format) -> int:
    written = 0
    table = csv.writer(file)
    if as_format is Format.CSV:
        table.writerow(ITEM_COLUMNS)
    async for item in book.readings.items(batch_id):
        written += 1
        if as_format is Format.CSV:
            table.writerow([_safe(item[name]) for name in ITEM_COLUMNS])
        else:
            line = {name: item[name] for name in ITEM_COLUMNS}
            file.write(orjson.dumps(line, default=str).decode() + "\n")
    return written


def _safe(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, dict):
        value = orjson.dumps(value).decode()
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def _opened(output: Path | None) -> Any:
    if output is None:
        return nullcontext(sys.stdout)
    try:
        return output.open("w", encoding="utf-8", newline="")
    except OSError as wrong:
        raise BadInput(f"{output}: {(wrong.strerror or 'cannot be written').lower()}.") from None


def _span(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([mhd])", text.strip())
    if found is None:
        raise BadInput(f"--since {text!r} is no span of time; try 90m, 24h or 7d.")
    return timedelta(**{UNITS[found.group(2)]: int(found.group(1))})
