"""How the command speaks: results on standard output, everything else on standard error."""

import asyncio
import shutil
import sys
import threading
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from entrypoints.cli.streams import heard
from muster.errors import BadInput, MusterError

PIPE_WIDTH: Final = 160  # columns where no terminal says how wide it is
MOST_LETTERS: Final = 300  # of a cell; `--json` and `export` give all of it
CLOSE_S: Final = 2.0


class _Console(Console):
    """A console that lets `heard` decide what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _width() -> int | None:
    """A terminal's own, else what COLUMNS says."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return None if is_terminal else shutil.get_terminal_size((PIPE_WIDTH, 24)).columns


out: Final = _Console(highlight=False, width=_width())
err: Final = _Console(stderr=True, highlight=False, soft_wrap=True)

T = TypeVar("T")


def say(sentence: str) -> None:
    """One line of result."""
    with heard():
        out.print(plain(sentence), markup=False, emoji=False, soft_wrap=True)


def note(sentence: str) -> None:
    """One line about what goes on."""
    err.print(plain(sentence), markup=False, emoji=False, style="dim")


def say_json(value: Any) -> None:
    """One machine-readable object, in UTF-8."""
    with heard():
        typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str))


def say_table(head: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Rows for people; nothing in a cell is read as markup. The last column takes what room is left."""
    if title:
        say(title)
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column, name in enumerate(head):
        side = "right" if _is_number(rows, column) else "left"
        table.add_column(name, justify=side, overflow="fold", no_wrap=_is_short(rows, column))  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    with out.capture() as drawn:
        out.print(table)
    with heard():
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))


def pick(row: Mapping[str, Any], *names: str) -> list[Any]:
    """Some columns of a row."""
    return [row[name] for name in names]


def plain(text: str) -> str:
    """Text that moves no cursor and changes no colour of the terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def check_words(words: Sequence[str]) -> None:
    """Refuse what was typed or pasted in another encoding than the terminal's: no name is written like that.

    Raises:
        BadInput: there is such a word.
    """
    for word in words:
        if not word.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise BadInput(f"What was typed is no text in this terminal's encoding: {plain(word)!r}.")


def complain(error: Exception) -> int:
    """An error in one sentence, a file's bad lines below it; the exit code that goes with it."""
    err.print(plain(f"Error: {_sentence(error)}"), markup=False, emoji=False, style="red")
    for line in error.lines if isinstance(error, BadInput) else ():
        err.print(plain(f"  {line}"), markup=False, emoji=False)
    return error.exit_code if isinstance(error, MusterError) else 1


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(_to_its_end(work))


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except Exception:
        # aiosqlite's thread answers a connection that failed only afterwards, and complains if the loop has gone.
        for thread in threading.enumerate():
            if "_connection_worker_thread" in thread.name:
                await asyncio.to_thread(thread.join, CLOSE_S)
        raise


def _sentence(error: Exception) -> str:
    if isinstance(error, MusterError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{f'{error.filename}: ' if error.filename else ''}{error.strerror}."
    return f"Unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _cell(value: Any) -> Text:
    if isinstance(value, datetime):
        value = f"{value:%Y-%m-%d %H:%M:%S}"
    said = plain(" ".join(str("" if value is None else value).split()))
    return Text(said if len(said) <= MOST_LETTERS else f"{said[:MOST_LETTERS]}…")


def _is_number(rows: Sequence[Sequence[Any]], column: int) -> bool:
    return bool(rows) and all(isinstance(row[column], int | float | None) for row in rows)


def _is_short(rows: Sequence[Sequence[Any]], column: int) -> bool:
    return all(isinstance(row[column], int | float | datetime | None) for row in rows)
