"""Where names stand in a text: whole words, whatever their case and accents; pure."""

import unicodedata
from collections.abc import Iterator, Sequence


def mentions(text: str, names: Sequence[str]) -> list[int]:
    """Where any of the names begins, in letters from the text's beginning; of names within each other the longest."""
    letters, places = _folded(text)
    found: dict[int, int] = {}  # where each begins → its end
    for name in sorted({_folded(it)[0] for it in names}, key=len, reverse=True):
        for start in _whole_words(letters, name) if name else ():
            if not any(begin <= start < end for begin, end in found.items()):
                found[start] = start + len(name)
    return sorted(places[start] for start in found)


def _whole_words(text: str, name: str) -> Iterator[int]:
    """Where the name stands by itself; a name that ends in a sign (`C++`) may be followed by a letter's end only."""
    start = text.find(name)
    while start >= 0:
        if not _joined(text, start - 1, name[0]) and not _joined(text, start + len(name), name[-1]):
            yield start
        start = text.find(name, start + 1)


def _joined(text: str, at: int, edge: str) -> bool:
    """Whether the letter at that place would make the name's edge a part of a longer word."""
    return 0 <= at < len(text) and edge.isalnum() and text[at].isalnum()


def _folded(text: str) -> tuple[str, list[int]]:
    """The text without case, accents and repeated spaces, and where each of its letters stood."""
    letters: list[str] = []
    places: list[int] = []
    for at, letter in enumerate(text):
        plain = " " if letter.isspace() else _plain(letter)
        if plain == " " and letters and letters[-1] == " ":
            continue
        letters.extend(plain)
        places.extend([at] * len(plain))
    folded = "".join(letters)
    begin, end = len(folded) - len(folded.lstrip()), len(folded.rstrip())
    return folded[begin:end], places[begin:end]


def _plain(letter: str) -> str:
    if letter.isascii():  # nearly all of them
        return letter.lower()
    parts = unicodedata.normalize("NFKD", letter)
    return "".join(it for it in parts if not unicodedata.combining(it)).casefold()
