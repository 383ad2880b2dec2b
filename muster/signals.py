"""The process's wish to end: a signal sets a flag that every lane watches, a second one ends the process at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

INTERRUPTED: Final = 130
_STOP: Final = threading.Event()  # lanes run in threads of their own, and signals belong to the process

_inside: Final[list[bool]] = []  # sub-flows enter and leave in any order
_before: Final[dict[int, Any]] = {}


def stopping() -> bool:
    """Whether the process was asked to end."""
    return _STOP.is_set()


def stop() -> None:
    """Ask every lane of this process to end."""
    _STOP.set()


@contextmanager
def watched() -> Iterator[None]:
    """Handle SIGINT and SIGTERM while anybody is inside, then put back who handled them before."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return
    before: dict[int, Any] = {number: signal.signal(number, _handle) for number in (signal.SIGINT, signal.SIGTERM)}
    if not _inside:  # whoever comes later sets the handlers too: Prefect puts its own in place for each sub-flow
        _STOP.clear()
        _before.update(before)
    _inside.append(True)
    try:
        yield
    finally:
        _inside.pop()
        while not _inside and _before:
            signal.signal(*_before.popitem())


def _handle(_number: int, _frame: FrameType | None) -> None:
    if stopping():
        os._exit(INTERRUPTED)  # the second time: at once
    stop()
