"""Where names stand in a text: whole words, whatever their case and accents; pure."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

MOST_PLACES: Final = 1_000  # of one thing


class Text:
    """A text as names are looked for in it: without case, accents and repeated spaces, made once for all names."""

    def __init__(self, text: str) -> None:
        self._letters, self._places = _folded(text)

    def mentions(self, names: Sequence[str]) -> list[int]:
        """Where any of a thing's names begins, in letters from the beginning; the longest of several wins."""
        taken = bytearray(len(self._letters))
        found = list[int]()
        for name in sorted({_folded(it)[0] for it in names}, key=len, reverse=True):
            for start in _whole_words(self._letters, name) if name else ():
                if not taken[start] and len(found) < MOST_PLACES:
                    taken[start : start + len(name)] = b"\1" * len(name)
                    found.append(self._places[start])
        return sorted(found)


def mentions(text: str, names: Sequence[str]) -> list[int]:
    """The same, for a text in which only one thing's names are looked for."""
    return Text(text).mentions(names)


def _whole_words(text: str, name: str) -> Iterator[int]:
    """Where the name stands by itself; an edge that is a sign, as in `C++`, needs no end of a word."""
    start = text.find(name)
    while start >= 0:
        if not _joined(text, start - 1, name[0]) and not _joined(text, start + len(name), name[-1]):
            yield start
        start = text.find(name, start + 1)


def _joined(text: str, at: int, edge: str) -> bool:
    """Whether the letter at that place would make the name's edge a part of a longer word."""
    return 0 <= at < len(text) and edge.isalnum() and text[at].isalnum()


def _folded(text: str) -> tuple[str, list[int]]:
    """The letters that count, and where each of them stood."""
    if text.isascii() and "  " not in text and text == text.strip() and text.isprintable():  # the usual case
        return text.lower(), list(range(len(text)))
    letters: list[str] = []
    places: list[int] = []
    for at, letter in enumerate(text):
        plain = " " if letter.isspace() else _plain(letter)
        if plain == " " and (not letters or letters[-1] == " "):
            continue
        letters.extend(plain)
        places.extend([at] * len(plain))
    folded = "".join(letters).rstrip()
    return folded, places[: len(folded)]


def _plain(letter: str) -> str:
    if letter.isascii():
        return letter.lower()
    parts = unicodedata.normalize("NFKD", letter)
    return "".join(it for it in parts if not unicodedata.combining(it)).casefold()
