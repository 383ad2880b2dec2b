"""How well a rate and a concurrency limit hold over ten processes that come, die and freeze, and what that costs."""

import asyncio
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.field import driver, plant, seen, settings_at, simulator
from muster.allotment import Report
from muster.ledger import Book
from muster.settings import Settings
from muster.shares import BEAT_S
from muster.wiring import open_book

DRIVERS: Final = 10
RATE_S: Final = 180
LONG_S: Final = 120
SEED: Final = 5
BEATS: Final = 300


async def measure() -> dict[str, Any]:
    """One driver has one lane; every ten seconds or so one dies, joins or is frozen."""
    return {"rate": await _rate(), "long_calls": await _long_calls(), "beat": await _beat_cost()}


async def _rate() -> dict[str, Any]:
    with simulator(700, "--rate-per-minute", "600") as address, tempfile.TemporaryDirectory() as home:
        settings = settings_at(Path(home), address)
        async with open_book(settings) as book:
            await book.upstreams.set("openai", {"per_minute": 600, "concurrency": 20})
            await _plant(book, settings, 250)
            async with _Crowd(Path(home), BENCH_LONGEST_S="5") as crowd:
                await asyncio.sleep(15)
                before, began = seen(address)["n"], time.monotonic()
                await crowd.churn(RATE_S)
                took, counted = time.monotonic() - began, seen(address)
    refused = counted["answered"].get("429", 0)
    return {
        "allowed_per_minute": 600,
        "most_in_any_minute": counted["max_in_minute"],
        "most_in_flight": counted["max_in_flight"],
        "allowed_in_flight": 20,
        "used": round((counted["n"] - before) / (took * 10), 3),
        "answered_429": refused,
    }


async def _long_calls() -> dict[str, Any]:
    """Calls of 0.4 to 7.6 s and a time-out of 8: a fifteenth of the five seconds to two minutes that calls may take."""
    with simulator(4000, "--latency-spread", "0.9") as address, tempfile.TemporaryDirectory() as home:
        settings = settings_at(Path(home), address)
        async with open_book(settings) as book:
            await book.upstreams.set("openai", {"concurrency": 20})
            await _plant(book, settings, 150)
            async with _Crowd(Path(home), BENCH_LONGEST_S="8") as crowd:
                await asyncio.sleep(15)
                in_flight: list[int] = []
                watching = asyncio.create_task(_watch(address, in_flight))
                await crowd.churn(LONG_S)
                watching.cancel()
                counted = seen(address)
    return {
        "allowed_in_flight": 20,
        "most_in_flight": counted["max_in_flight"],
        "used": round(statistics.mean(in_flight) / 20, 3),
    }


async def _beat_cost() -> dict[str, Any]:
    """The processor time of a lane's beat, ten lanes at one limited upstream."""
    with tempfile.TemporaryDirectory() as home:
        settings = settings_at(Path(home), "http://127.0.0.1:1")
        async with open_book(settings) as book:
            await book.upstreams.set("openai", {"per_minute": 600, "concurrency": 20})
            await _plant(book, settings, 50)
            leases = [await book.batches.take(batch, "bench") for batch in range(1, DRIVERS + 1)]
            for lease in leases:
                await book.lanes.enter(lease, f"lane-{lease.batch_id}")
            report = {"openai": Report(held=1, most=16, longest_s=60.0)}
            began = time.process_time()
            for at in range(BEATS):
                lease = leases[at % DRIVERS]
                await book.lanes.beat(lease, f"lane-{lease.batch_id}", report)
            each = (time.process_time() - began) / BEATS
    return {"cpu_ms": round(1000 * each, 2), "share_of_a_core_per_lane": round(each / BEAT_S, 4)}


async def _plant(book: Book, settings: Settings, profiles: int) -> None:
    once = settings.model_copy(update={"lanes": 1})
    await plant(book, once, {f"client-{number}": profiles for number in range(16)})


async def _watch(address: str, in_flight: list[int]) -> None:
    while True:
        in_flight.append((await asyncio.to_thread(seen, address))["in_flight"])
        await asyncio.sleep(0.25)


class _Crowd:
    """Ten drivers of one lane each."""

    def __init__(self, home: Path, **environ: str) -> None:
        self._home, self._environ = home, {"MUSTER_CLIENTS_AT_ONCE": "1", "MUSTER_STALE_SECONDS": "8", **environ}
        self._rng = random.Random(SEED)

    async def __aenter__(self) -> Self:
        self._drivers = [driver(self._home, **self._environ) for _ in range(DRIVERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for it in self._drivers:
            it.kill()
            it.wait()

    async def churn(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self._rng.expovariate(1 / 10)))
            fate, victim = self._rng.random(), self._rng.choice(self._drivers)
            if fate < 0.4 and len(self._drivers) < DRIVERS + 3:
                self._drivers.append(driver(self._home, **self._environ))
            elif fate < 0.7 and len(self._drivers) > DRIVERS - 3:
                victim.kill()
                victim.wait()
                self._drivers.remove(victim)
            else:
                victim.send_signal(signal.SIGSTOP)
                await asyncio.sleep(self._rng.uniform(1, 8))
                victim.send_signal(signal.SIGCONT)
