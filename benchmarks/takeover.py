"""How long after a `kill -9` of the only driver its items are worked again, with default settings."""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select

from benchmarks.field import plant, settings_at, simulator
from muster.ledger import Book
from muster.ledger.tables import ITEM
from muster.wiring import open_book

ITEMS: Final = 2_000
LATENCY_MS: Final = 50
IN_FLIGHT: Final = 2  # of each of two lanes, so that the batch lasts for half a minute
TIMES: Final = 3
COMMAND: Final = "from entrypoints.cli import main; main()"


async def measure() -> dict[str, Any]:
    """Two processes of `muster reconcile --every 5`; the one that drives is killed."""
    with simulator(LATENCY_MS) as address:
        seconds = [await _once(address) for _ in range(TIMES)]
    return {
        "items": ITEMS,
        "latency_ms": LATENCY_MS,
        "seconds_from_kill_to_next_claim": {"median": statistics.median(seconds), "worst": max(seconds)},
    }


async def _once(address: str) -> float:
    with tempfile.TemporaryDirectory() as home:
        settings = settings_at(Path(home), address)
        async with open_book(settings) as book:
            await plant(book, settings, {"acme": ITEMS})
            with _driver(Path(home)) as first:
                before = await _past(book, 100)
                with _driver(Path(home)):
                    await asyncio.sleep(3)
                    first.kill()
                    killed, before = time.monotonic(), await _starts(book)
                    await _past(book, before)
                    return round(time.monotonic() - killed, 1)


async def _starts(book: Book) -> int:
    return int(await book.database.read(lambda tx: tx.value(select(func.sum(ITEM.c.starts)))))


async def _past(book: Book, starts: int) -> int:
    """Wait until more items were claimed than that."""
    async with asyncio.timeout(120):
        while (now := await _starts(book)) <= starts:  # noqa: ASYNC110, other processes set no event here
            await asyncio.sleep(0.1)
    return now


@contextmanager
def _driver(home: Path) -> "Iterator[subprocess.Popen[bytes]]":
    environ = os.environ | {"MUSTER_IN_FLIGHT": str(IN_FLIGHT)}
    command = [sys.executable, "-c", COMMAND, "reconcile", "--every", "5"]
    with (home / "driver.log").open("ab") as log, subprocess.Popen(command, env=environ, stderr=log) as child:  # noqa: S603
        try:
            yield child
        finally:
            child.kill()
