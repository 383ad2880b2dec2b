"""Standard output and error as they may really be: closed, piped to `head`, unable to show every letter."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def ready_streams() -> None:
    """Give the process both streams, and let no letter that a terminal cannot show end it."""
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def heard() -> Iterator[None]:
    """Write to standard output; when its reader has gone away (`| head`), the command goes on unheard.

    What the command does, and its exit code, must not depend on how much of its words somebody wanted.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        hush()


def hush() -> None:
    """Send what is still to be said nowhere, also what stands in the stream's buffer."""
    with _nowhere() as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextmanager
def as_utf8() -> Iterator[TextIO]:
    """Standard output for a file's content: UTF-8 and its own line ends, whatever the terminal speaks."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        yield sys.stdout
        return
    sys.stdout.flush()
    file = io.TextIOWrapper(binary, encoding="utf-8", newline="", write_through=True)
    try:
        yield file
        file.flush()
    finally:
        file.detach()


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, open until the process ends
