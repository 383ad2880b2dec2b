"""What a client with 10,000 items costs fifty with 20: how much later these finish, and how even the service was."""

import asyncio
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select

from benchmarks.field import driver, plant, settings_at, simulator
from muster.explain import explain_batch
from muster.ledger import Book
from muster.ledger.tables import BATCH, ITEM
from muster.shares import jain
from muster.states import BatchState
from muster.wiring import open_book

SMALL: Final = {f"small-{number:02}": 20 for number in range(50)}
BIG: Final = {"big": 10_000}
AT_ONCE: Final = 40  # calls in flight over all
AT_A_TIME: Final = 8  # clients


async def measure() -> dict[str, Any]:
    """A driver that serves eight clients at the same time, calls of a second."""
    alone, _ = await _night(SMALL)
    beside, told = await _night(BIG | SMALL)
    return {
        "small_ones_among_themselves_s": round(alone, 1),
        "beside_the_big_one_s": round(beside, 1),
        "ratio": round(beside / alone, 3),
        **told,
    }


async def _night(clients: dict[str, int]) -> tuple[float, dict[str, Any]]:
    with simulator(1000) as address, tempfile.TemporaryDirectory() as home:
        settings = settings_at(Path(home), address).model_copy(update={"lanes": 1})
        async with open_book(settings) as book:
            await book.upstreams.set("openai", {"concurrency": AT_ONCE})
            await plant(book, settings, clients)
            drives = driver(Path(home), MUSTER_CLIENTS_AT_ONCE=str(AT_A_TIME))
            try:
                began = await _begun(book)
                ended = await _small_ones_ended(book)
                told = {"jain": await _jain(book, ended), "explain_ms": await _explain_ms(book)}
            finally:
                drives.kill()
                drives.wait()
    return (ended - began).total_seconds(), told


async def _batches(book: Book) -> Any:
    return await book.database.read(lambda tx: tx.rows(select(BATCH)))


async def _begun(book: Book) -> datetime:
    async with asyncio.timeout(60):
        while not (started := [it["started_at"] for it in await _batches(book) if it["started_at"]]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    first: datetime = min(started)
    return first


async def _small_ones_ended(book: Book) -> datetime:
    async with asyncio.timeout(300):
        while True:
            small = [it for it in await _batches(book) if it["client_id"] != "big"]
            if all(it["state"] == BatchState.DONE for it in small):
                last: datetime = max(it["closed_at"] for it in small)
                return last
            await asyncio.sleep(0.2)


async def _jain(book: Book, ended: datetime) -> float:
    """Jain's index of the items a second that clients had closed while they were served, from when all turns are taken.

    Before that there is nobody to share with: whoever comes first has every call.
    """
    batches = await _batches(book)
    since = sorted(it["started_at"] for it in batches if it["started_at"])[AT_A_TIME - 1]
    rates = [it["total"] / (it["closed_at"] - it["started_at"]).total_seconds() for it in batches if _within(it, since)]
    for big in (it for it in batches if it["client_id"] == "big"):
        before, after = await _closed(book, big["id"], since), await _closed(book, big["id"], ended)
        rates.append((after - before) / (ended - since).total_seconds())
    return round(jain(rates), 3)


def _within(batch: Any, since: datetime) -> bool:
    return bool(batch["client_id"] != "big" and batch["started_at"] >= since)


async def _closed(book: Book, batch_id: int, until: datetime) -> int:
    closed = select(func.count()).select_from(ITEM).where(ITEM.c.batch_id == batch_id, ITEM.c.closed_at <= until)
    return int(await book.database.read(lambda tx: tx.value(closed)))


async def _explain_ms(book: Book) -> float:
    batch = max(await _batches(book), key=lambda it: int(it["total"]))
    began = time.perf_counter()
    explain_batch(await book.explaining.facts(batch["id"]))
    return round(1000 * (time.perf_counter() - began), 1)
