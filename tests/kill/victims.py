"""Drivers as real processes, forked from a server that has imported everything, so that a new one costs no second."""

import asyncio
import multiprocessing
import os
import runpy
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from muster import signals
from muster.ledger.database import Tx
from muster.reconcile import reconcile
from muster.running import work_all
from muster.settings import Settings
from muster.wiring import open_book
from muster.workloads.profiles import Profiles

LOOK_S: Final = 0.25
FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


class Victim:
    """A driver that pulls and reconciles for ever, until it is killed."""

    def __init__(self, environ: Mapping[str, str], clock: Path | None = None) -> None:
        self.process: BaseProcess = FORKS.Process(target=drive_for_ever, args=(dict(environ), clock), daemon=False)
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As the operating system does when memory runs out: no handler, no farewell."""
        self.send(signal.SIGKILL)
        self.process.join(10)
        self.process.close()


def drive_for_ever(environ: dict[str, str], clock: Path | None) -> None:
    os.environ.update(environ)
    if extra := environ.get("PYTHONPATH"):  # it was forked, not started, so nobody has looked there
        runpy.run_path(str(Path(extra.partition(os.pathsep)[0]) / "sitecustomize.py"))
    if longest_s := environ.get("LONGEST_S"):
        Profiles.longest_s = float(longest_s)
    if clock is not None:
        _shift_time(clock)
    with signals.watched():
        asyncio.run(_drive_for_ever(Settings.read()))


async def _drive_for_ever(settings: Settings) -> None:
    async with open_book(settings) as book:
        while not signals.stopping():
            with suppress(Exception):  # what went wrong here is another driver's to mend, or for the next time
                await reconcile(book, settings)
                await work_all(book, settings)
            await asyncio.sleep(LOOK_S)


def _shift_time(clock: Path) -> None:
    """Let the ledger's time be what a file says it is off by, in seconds: all processes share that one clock."""
    now = Tx.now

    async def shifted(self: Tx) -> datetime:
        return await now(self) + timedelta(seconds=float(clock.read_text() or 0))  # noqa: ASYNC240, a few bytes

    Tx.now = shifted  # type: ignore[method-assign]
