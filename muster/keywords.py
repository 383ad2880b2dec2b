"""Keywords as a person gives them: typed, or in files of text, CSV or JSON lines; merged in order, and checked."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from muster.errors import BadInput
from muster.imports import MOST_LINES, read_bytes, read_text

LONGEST: Final = 200  # letters
MOST: Final = 10_000  # in one batch
STDIN: Final = "-"
COLUMN: Final = "keyword"
_JSON_LINES: Final = frozenset({".jsonl", ".ndjson", ".json"})


@dataclass(frozen=True, slots=True)
class Given:
    """A keyword as it was found, and where."""

    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Keywords:
    """Those that are left, each once, in their order; `twice` names what was dropped."""

    texts: tuple[str, ...]
    twice: tuple[str, ...]


def merge(given: Iterable[Given]) -> Keywords:
    """Check keywords, and take each once.

    Raises:
        BadInput: one is empty, too long or no line of text, each is named; or there are too many.
    """
    first: dict[str, str] = {}
    twice: list[str] = []
    bad: list[str] = []
    for it in given:
        text = unicodedata.normalize("NFC", " ".join(it.text.split()))
        if wrong := _wrong(text):
            bad.append(f"{it.place}: {wrong}")
        elif text in first:
            twice.append(f"{it.place}: {text!r} is the same as {first[text]}")
        else:
            first[text] = it.place
    if bad:
        more = [f"and {len(bad) - MOST_LINES} more"] if len(bad) > MOST_LINES else []
        raise BadInput("Nothing was begun; not every keyword can be taken.", [*bad[:MOST_LINES], *more])
    if len(first) > MOST:
        raise BadInput(f"{len(first):,} keywords are too many for one batch; {MOST:,} fit.")
    return Keywords(tuple(first), tuple(twice))


def typed(words: Sequence[str]) -> Iterator[Given]:
    """Those that stand on the command line."""
    yield from (Given(word, f"keyword {at}") for at, word in enumerate(words, 1))


def from_file(name: str, stdin: bytes = b"") -> Iterator[Given]:
    """Those of a file, or of standard input where the name is `-`: what they look like says how they are read.

    Raises:
        BadInput: it cannot be read; the line is named where there is one.
    """
    is_stdin = name == STDIN
    label = "standard input" if is_stdin else name
    text = read_text(label, stdin if is_stdin else read_bytes(Path(name)))
    kind = _sniffed(text) if is_stdin else Path(name).suffix.lower()
    if kind == ".csv":
        return _of_csv(label, text)
    return _of_json_lines(label, text) if kind in _JSON_LINES else _of_text(label, text)


def _wrong(text: str) -> str | None:
    if not text:
        return "is empty"
    if len(text) > LONGEST:
        return f"has {len(text)} letters, and may have {LONGEST}: {text[:40]!r}…"
    if not _is_plain(text):
        return f"holds a letter that no text has: {text[:60]!r}"
    return None


def _is_plain(text: str) -> bool:
    """Without control characters and halves of letters; joiners, as in emoji, are fine."""
    return not any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in text)


def _sniffed(text: str) -> str:
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if first.startswith(("{", '"')):
        return ".jsonl"
    names = [it.strip().strip('"').lower() for it in first.split(",")]
    return ".csv" if COLUMN in names else ".txt"


def _of_text(label: str, text: str) -> Iterator[Given]:
    """One a line; an empty line is named, but for those at the end."""
    for number, line in enumerate(text.rstrip().split("\n") if text.strip() else (), 1):
        yield Given(line, f"{label}, line {number}")


def _of_csv(label: str, text: str) -> Iterator[Given]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    at, begins = None, 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if at is None:
                    at = _column(label, cells)
                else:
                    yield Given(cells[at] if at < len(cells) else "", f"{label}, line {begins}")
            begins = reader.line_num + 1
    except csv.Error as wrong:
        raise BadInput(f"{label}: line {begins} is not CSV: {wrong}.") from None


def _column(label: str, cells: Sequence[str]) -> int:
    names = [cell.strip().lower() for cell in cells]
    if COLUMN not in names:
        raise BadInput(f"{label}: the first line must name the columns; {COLUMN} is missing.")
    return names.index(COLUMN)


def _of_json_lines(label: str, text: str) -> Iterator[Given]:
    """One a line, as a string or as the `keyword` of an object."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            told = None
        keyword = told.get(COLUMN) if isinstance(told, dict) else told
        if not isinstance(keyword, str):
            raise BadInput(f'{label}: line {number} must be a JSON string, or an object such as {{"{COLUMN}": "…"}}.')
        yield Given(keyword, f"{label}, line {number}")
