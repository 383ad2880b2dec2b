"""A lane in a process of its own: for large batches, which earn every core, and for suspects, which may bring it down.

The child watches its standard input: when the parent is gone, or closes it to ask for an end, it finishes like any
lane that is asked to stop.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from typing import Any, Final

import orjson

from muster import signals
from muster.engine import lane_name
from muster.errors import LeaseLost, MusterError, WorkFailed
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.settings import Settings
from muster.wiring import open_book, work_lane

MOST_DEATHS: Final = 3  # of one lane's processes, before the lane gives up
UNRELATED_S: Final = 60.0  # a process that worked for so long has nothing to do with the deaths before it
LOOK_S: Final = 0.25
WATCH_S: Final = 1.0  # between looks at whether the ledger still counts on a child
LEAVES_S: Final = 2.0  # from leaving the ledger to the process's end
KILL_AFTER_S: Final = 10.0  # a child that was asked to end and has not


async def run_lane(book: Book, lease: Lease, settings: Settings, *, apart: bool) -> Counter[str]:
    """Work a batch as one lane, in this thread's loop or apart; how many attempts ended in which state."""
    return await (work_apart(book, lease, settings) if apart else work_lane(book, lease, settings))


async def work_apart(book: Book, lease: Lease, settings: Settings, *, alone: bool = False) -> Counter[str]:
    """Work a batch as one lane in processes of its own; one that dies is replaced, and its items come back at once.

    Raises:
        LeaseLost: another driver has the batch.
        WorkFailed: the processes die again and again.
    """
    deaths = 0
    while True:
        name, began = lane_name(lease), time.monotonic()
        process = await _start(lease, name, alone=alone)
        said = await _end_of(process, settings, _Watch(book, name))
        if said is not None:
            return _tally(said)
        why = _cause(process)
        held = await book.lanes.fallen(lease, name, why)
        deaths = 0 if time.monotonic() - began > UNRELATED_S else deaths
        deaths += not (alone and held)  # one that was alone took its poison with it
        if signals.stopping():
            return Counter()
        if deaths == MOST_DEATHS:
            raise WorkFailed(f"The processes of a lane of batch {lease.batch_id} die again and again: {why}.")


async def _start(lease: Lease, name: str, *, alone: bool) -> Process:
    words = [str(lease.batch_id), str(lease.epoch), name, *(["alone"] if alone else [])]
    command = (sys.executable, "-m", __name__, *words)  # in a session of its own: Ctrl+C is for us to pass on
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)


class _Watch:
    """Whether a child is to be given up: its lane was dropped for its silence, or it does not end when asked to."""

    def __init__(self, book: Book, lane: str) -> None:
        self._book, self._lane = book, lane
        self._was_there = False
        self._look_at = self._stop_by = 0.0

    async def is_lost(self, settings: Settings) -> bool:
        now = time.monotonic()
        if signals.stopping():
            self._stop_by = self._stop_by or now + settings.stop_grace_seconds + KILL_AFTER_S
            return now > self._stop_by
        if now < self._look_at:
            return False
        self._look_at = now + WATCH_S
        is_there = await self._book.lanes.is_there(self._lane)
        was_there, self._was_there = self._was_there, is_there
        return was_there and not is_there


async def _end_of(process: Process, settings: Settings, watch: _Watch) -> dict[str, Any] | None:
    """What the child said at its end; None if it died before that. It ends with us, whatever ends us."""
    reading = asyncio.create_task(_read(process))
    lost_at: float | None = None
    try:
        while not reading.done():
            if signals.stopping():
                _ask_to_end(process)
            if lost_at is None and await watch.is_lost(settings):
                lost_at = time.monotonic()
            if lost_at is not None and time.monotonic() - lost_at > LEAVES_S:  # it may just be leaving
                process.kill()
            await asyncio.wait({reading}, timeout=LOOK_S)
        return reading.result()
    finally:
        _ask_to_end(process)
        if not reading.done():
            await asyncio.wait({reading}, timeout=settings.stop_grace_seconds + KILL_AFTER_S)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def _read(process: Process) -> dict[str, Any] | None:
    assert process.stdout is not None  # noqa: S101, asked for
    said = await process.stdout.read()
    await process.wait()
    return orjson.loads(said) if process.returncode == 0 and said else None


def _ask_to_end(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _cause(process: Process) -> str:
    code = process.returncode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _tally(said: dict[str, Any]) -> Counter[str]:
    match said:
        case {"tally": tally}:
            return Counter(tally)
        case {"lease_lost": why}:
            raise LeaseLost(why)
    raise WorkFailed(str(said.get("error")))


async def _work_here(lease: Lease, settings: Settings, name: str, *, alone: bool) -> Counter[str]:
    async with open_book(settings) as book:
        return await work_lane(book, lease, settings, name=name, alone=alone)


def _work(batch: str, epoch: str, name: str, *words: str) -> dict[str, Any]:
    """What the child does, and says at its end."""
    try:
        lane = _work_here(Lease(int(batch), int(epoch)), Settings.read(), name, alone="alone" in words)
        return {"tally": {str(state): n for state, n in asyncio.run(lane).items()}}
    except LeaseLost as lost:
        return {"lease_lost": str(lost)}
    except MusterError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001, the parent says it
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def _watch_parent() -> None:
    """Ask this process's lane to end when the parent closes our standard input, or is gone."""
    while os.read(0, 1):  # not `sys.stdin`, whose lock a thread must not hold when the interpreter ends
        pass
    signals.stop()


if __name__ == "__main__":
    with signals.watched():
        threading.Thread(target=_watch_parent, daemon=True).start()
        said = orjson.dumps(_work(*sys.argv[1:]))
    with contextlib.suppress(BrokenPipeError):  # the parent is gone
        os.write(1, said)
