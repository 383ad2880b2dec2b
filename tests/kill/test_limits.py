"""Limits over all processes while drivers come, die and freeze: what the simulator counted is the proof."""

import asyncio
import random
import signal
import statistics
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from muster.ledger.live import ALLOTMENT
from tests.kill.field import Field, a_field
from tests.kill.victims import Victim

DRIVERS = 8  # of one lane each, on batches of their own
CLIENTS = 14


def drive(field: Field) -> Victim:
    return field.drive(MUSTER_CLIENTS_AT_ONCE="1")


async def churn(field: Field, seconds: float, rng: random.Random) -> None:
    """Now and then a driver is killed and another comes, or one is frozen for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(rng.uniform(3, 6))
        victim = rng.choice(field.victims)
        if rng.random() < 0.6:
            field.kill(victim)
            drive(field)
        else:
            victim.send(signal.SIGSTOP)
            await asyncio.sleep(rng.uniform(1, 7))
            victim.send(signal.SIGCONT)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # each takes over a minute
async def test_a_rate_holds_over_all_processes_and_is_used(database_url: str, tmp_path: Path):
    async with a_field(
        database_url, tmp_path, latency_ms=500, simulated=["--rate-per-minute", "600"],
        LONGEST_S="5", MUSTER_STALE_SECONDS="6", MUSTER_LANES="1",
    ) as field:  # fmt: skip
        await field.book.upstreams.set("openai", {"per_minute": 600, "concurrency": 20})
        await field.plant(CLIENTS, 120, ["profiles"])
        for _ in range(DRIVERS):
            drive(field)
        await asyncio.sleep(8)
        before, began = sum(field.simulator.calls("openai").values()), time.monotonic()

        await churn(field, 60, random.Random(7))

        calls = sum(field.simulator.calls("openai").values()) - before
        assert field.simulator.most_in_minute("openai") <= 600
        assert field.simulator.most_in_flight("openai") <= 20
        assert field.simulator.answered("openai").get("429", 0) == 0
        assert calls >= 0.88 * 10 * (time.monotonic() - began)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_concurrency_limit_holds_for_long_calls_and_is_used(database_url: str, tmp_path: Path):
    async with a_field(
        database_url, tmp_path, latency_ms=3000, simulated=["--latency-spread", "0.9"],
        LONGEST_S="6", MUSTER_STALE_SECONDS="6", MUSTER_LANES="1",
    ) as field:  # fmt: skip
        await field.book.upstreams.set("openai", {"concurrency": 12})
        await field.plant(CLIENTS, 60, ["profiles"])
        for _ in range(DRIVERS):
            drive(field)
        await asyncio.sleep(8)
        seen: list[int] = []
        watching = asyncio.create_task(watch(field, seen))

        await churn(field, 40, random.Random(3))

        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert field.simulator.most_in_flight("openai") <= 12
        assert statistics.mean(seen) >= 0.7 * 12


async def watch(field: Field, seen: list[int]) -> None:
    while True:
        seen.append(await asyncio.to_thread(field.simulator.in_flight, "openai"))
        await asyncio.sleep(0.2)


async def test_a_frozen_lane_keeps_what_it_may_have_in_flight_and_nothing_else(database_url: str, tmp_path: Path):
    async with a_field(
        database_url, tmp_path, latency_ms=8000, simulated=["--latency-spread", "0"],
        LONGEST_S="10", MUSTER_STALE_SECONDS="30", MUSTER_LANES="1", MUSTER_IN_FLIGHT="8",
    ) as field:  # fmt: skip
        await field.book.upstreams.set("openai", {"concurrency": 12})
        await field.plant(1, 5, ["profiles"])
        frozen = drive(field)
        await field.until(lambda: _holds(field, 5))
        await field.freeze(frozen.pid)
        stopped = time.monotonic()
        await field.plant(2, 40, ["profiles"])
        drive(field)
        drive(field)

        await field.until(lambda: _held_by_others(field, 7))
        idle_share_after = time.monotonic() - stopped
        await field.until(lambda: _held_by_others(field, 12))
        all_after = time.monotonic() - stopped
        frozen.send(signal.SIGCONT)
        await asyncio.sleep(3)

        assert idle_share_after < 12  # two processes had to start, too
        assert all_after > 10 + 4.5  # its calls have timed out, and its allotment has run out before
        assert field.simulator.most_in_flight("openai") <= 12


async def _holds(field: Field, calls: int) -> bool:
    return field.simulator.in_flight("openai") >= calls


async def _held_by_others(field: Field, calls: int) -> bool:
    rows = await field.book.database.read(lambda tx: tx.rows(select(ALLOTMENT)))
    return bool(sum(row["held"] for row in rows if row["allotted"]) >= calls)
