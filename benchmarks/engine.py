"""Items settled per second at 0 ms latency and 64 in flight, against bare aiohttp without a ledger, in one run."""

import asyncio
import statistics
import time
from typing import Any

import aiohttp

from benchmarks import server, work

ITEMS = 20_000
IN_FLIGHT = 64
ROUNDS = 3


async def measure() -> dict[str, Any]:
    """In turn, so that a machine that slows down slows both."""
    with server.running() as address:
        work.Calls.address = address
        pairs = [(await _bare(address), await _engine()) for _ in range(ROUNDS)]
    ratios = [engine / bare for bare, engine in pairs]
    return {
        "items": ITEMS,
        "in_flight": IN_FLIGHT,
        "bare_aiohttp_per_s": [round(bare) for bare, _ in pairs],
        "engine_per_s": [round(engine) for _, engine in pairs],
        "ratio_median": round(statistics.median(ratios), 2),
    }


async def _engine() -> float:
    async with work.batch(ITEMS, IN_FLIGHT) as (book, batch_id, limits):
        started = time.perf_counter()
        await work.work(book, batch_id, limits)
        return ITEMS / (time.perf_counter() - started)


async def _bare(address: str) -> float:
    numbers = iter(range(ITEMS))

    async def calls(session: aiohttp.ClientSession) -> None:
        for _ in numbers:
            async with session.post(address, data=work.ASKED, headers={"authorization": "Bearer x"}) as answer:
                await answer.json()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(calls(session) for _ in range(IN_FLIGHT)))
        return ITEMS / (time.perf_counter() - started)
