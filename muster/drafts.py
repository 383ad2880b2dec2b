"""Drafts on disk: a folder for each keyword, whole or not there, which no other keyword's ever takes the place of."""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson
from slugify import slugify

LONGEST_NAME: Final = 80
NAMELESS: Final = "article"  # a keyword without a letter or digit that a file system bears
RESEARCH: Final = "research.json"
_HIDDEN: Final = ".muster-"
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Draft:
    """A keyword's files by name; `owner` is what no other item of any batch has, and stands in its research."""

    keyword: str
    owner: str
    folder: Path  # in which its own is made
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a draft lies, and the checksums (SHA-256) of its files."""

    name: str
    sums: Mapping[str, str]


def slug_of(keyword: str) -> str:
    """A keyword's folder, should no other have that name."""
    return slugify(keyword, max_length=LONGEST_NAME) or NAMELESS


def keep(draft: Draft, *, again: bool) -> Kept:
    """Write the draft beside its place, and move it there in one step.

    `again` says that it may have been done before, by a process that was killed: then what that left is found or
    cleared away.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    draft.folder.mkdir(parents=True, exist_ok=True)
    if again:
        _clear(draft)
        if (found := _own(draft)) is not None:
            return found
    aside = draft.folder / f"{_hidden(draft)}{uuid4().hex[:8]}"
    try:
        aside.mkdir()
        for name, content in draft.files.items():
            _write(aside / name, content)
        sync(aside)
        name = _move(aside, draft)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync(draft.folder)
    return Kept(name, {it: hashlib.sha256(content).hexdigest() for it, content in draft.files.items()})


def put_aside(folder: Path, name: str, content: bytes) -> None:
    """Write a file of that name in one step, in place of an earlier one.

    Raises:
        OSError: it cannot be written; the earlier one is as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{_HIDDEN}{uuid4().hex}"
    try:
        _write(aside, content)
        aside.replace(folder / name)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    sync(folder)


def check_writable(folder: Path) -> None:
    """See that drafts can be kept there, before anything is paid for.

    Raises:
        OSError: they cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f"{_HIDDEN}{uuid4().hex}"
    probe.mkdir()
    probe.rmdir()


def sync(folder: Path) -> None:
    """Let a folder's names survive the loss of power."""
    there = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(there)
    finally:
        os.close(there)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _move(aside: Path, draft: Draft) -> str:
    for name in _names(draft.keyword):
        place = draft.folder / name
        if os.path.lexists(place):
            continue
        try:
            aside.rename(place)
        except OSError as wrong:
            if wrong.errno not in _TAKEN:  # else somebody was quicker
                raise
        else:
            return name
    raise AssertionError("there is always another number")


def _names(keyword: str) -> Iterator[str]:
    slug = slug_of(keyword)
    yield slug
    for number in count(2):
        end = f"-{number}"
        yield slug[: LONGEST_NAME - len(end)].rstrip("-") + end


def _hidden(draft: Draft) -> str:
    return f"{_HIDDEN}{hashlib.sha256(draft.owner.encode()).hexdigest()[:16]}-"


def _clear(draft: Draft) -> None:
    """Remove what a killed process left half-written; the item is this attempt's alone."""
    for left in draft.folder.glob(f"{_hidden(draft)}*"):
        shutil.rmtree(left, ignore_errors=True)


def _own(draft: Draft) -> Kept | None:
    """The draft as a process put it in place that was killed before it could say so."""
    slug = slug_of(draft.keyword)
    mine = re.compile(rf"{re.escape(slug)}|{re.escape(slug[: LONGEST_NAME - 8].rstrip('-'))}.*-[0-9]+")
    for there in sorted(draft.folder.iterdir()):
        if mine.fullmatch(there.name) and _said(there / RESEARCH).get("owner") == draft.owner:
            sums = {it.name: hashlib.sha256(it.read_bytes()).hexdigest() for it in sorted(there.iterdir())}
            return Kept(there.name, sums)
    return None


def _said(path: Path) -> dict[str, Any]:
    try:
        told = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return told if isinstance(told, dict) else {}
