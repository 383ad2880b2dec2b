"""`muster export`: every item of a batch with its outcome, as a file."""

import csv
from contextlib import AbstractContextManager, aclosing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import orjson
import typer

from entrypoints.cli.batches import BatchId, known_batch
from entrypoints.cli.speech import note, run
from entrypoints.cli.streams import as_utf8, hush
from muster.errors import BadInput
from muster.ledger import Book
from muster.report import counted
from muster.settings import Settings
from muster.wiring import open_book

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
FORMULA: Final = tuple("=+-@\t\r")


class Format(StrEnum):
    """What an export looks like."""

    CSV = "csv"
    JSONL = "jsonl"


def export(
    batch: BatchId,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file; left out, standard output.")] = None,
    as_format: Annotated[Format, typer.Option("--format", help="csv or jsonl.")] = Format.CSV,
) -> None:
    """Write every item of a batch with its outcome; the CSV is safe to open in a spreadsheet.

    \b
    muster export 12 -o items.csv
    muster export 12 --format jsonl | grep failed
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> int:
        async with open_book(Settings.read()) as book:
            await known_batch(book, batch)
            with opened(output) as file:
                return await _write_items(book, batch, file, as_format)

    try:
        written = run(work())
    except BrokenPipeError:  # `| head` has had enough
        hush()
    except OSError as wrong:
        raise BadInput(f"{output or 'Standard output'}: {(wrong.strerror or 'cannot be written').lower()}.") from None
    else:
        note(f"{counted(written, 'item')} of batch {batch} written{f' to {output}' if output else ''}.")


async def _write_items(book: Book, batch_id: int, file: TextIO, as_format: Format) -> int:
    written = 0
    table = csv.writer(file)
    if as_format is Format.CSV:
        table.writerow(ITEM_COLUMNS)
    async with aclosing(book.readings.items(batch_id)) as items:  # or a full disk leaves its connection open
        async for item in items:
            written += 1
            if as_format is Format.CSV:
                table.writerow([safe(item[name]) for name in ITEM_COLUMNS])
            else:
                line = {name: item[name] for name in ITEM_COLUMNS}
                file.write(orjson.dumps(line, default=str).decode() + "\n")
    return written


def safe(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, dict):
        value = orjson.dumps(value).decode()
    return f"'{value}" if isinstance(value, str) and value.lstrip(" \n")[:1] in FORMULA else value


def opened(output: Path | None) -> AbstractContextManager[TextIO]:
    """The file to write, or standard output."""
    return as_utf8() if output is None else output.open("w", encoding="utf-8", newline="")
