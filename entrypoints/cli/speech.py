"""How the command speaks: results on standard output, everything else on standard error."""

import asyncio
import sys
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from muster.errors import BadInput, MusterError

PIPE_WIDTH: Final = 160  # columns where no terminal says how wide it is

out: Final = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err: Final = Console(stderr=True, highlight=False, soft_wrap=True)

T = TypeVar("T")


def say(sentence: str) -> None:
    """One line of result."""
    out.print(sentence, markup=False, soft_wrap=True)


def note(sentence: str) -> None:
    """One line about what goes on."""
    err.print(sentence, markup=False, style="dim")


def say_json(value: Any) -> None:
    """One machine-readable object."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())


def say_table(head: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Rows for people; nothing in a cell is read as markup."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="right" if _is_number(rows, head.index(name)) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_escape(value) for value in row))
    out.print(table)


def pick(row: Mapping[str, Any], *names: str) -> list[Any]:
    """Some columns of a row."""
    return [row[name] for name in names]


def complain(error: BaseException) -> None:
    """An error in one sentence; a file's bad lines below it."""
    known = isinstance(error, MusterError)
    said = str(error) if known else f"Unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    err.print(f"Error: {said}", markup=False, style="red")
    for line in error.lines if isinstance(error, BadInput) else ():
        err.print(f"  {line}", markup=False)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


def _escape(value: Any) -> str:
    if isinstance(value, datetime):
        value = f"{value:%Y-%m-%d %H:%M:%S}"
    return escape("" if value is None else str(value))


def _is_number(rows: Sequence[Sequence[Any]], column: int) -> bool:
    return bool(rows) and all(isinstance(row[column], int | float | None) for row in rows)
