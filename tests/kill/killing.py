"""Killing at random: drivers, and single lanes under living drivers, over many short batches."""

import asyncio
import os
import random
import signal
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from tests.kill.field import Field
from tests.kill.victims import Victim

DRIVERS: Final = 2
CLIENTS: Final = 3
PROFILES: Final = 25
PAUSE_S: Final = (0.05, 1.0)
PROCESSES: Final = "1", "1"  # open items from which lanes are processes, lanes
THREADS: Final = "5000", "2"
LANE_SHARE: Final = 0.75  # of the kills, where a driver has lanes that are processes


@dataclass
class Figures:
    """What came of the kills."""

    seed: int
    drivers_killed: int = 0
    lanes_killed: int = 0
    items: int = 0
    repeated: int = 0
    resumed: int = 0
    until_next_claim_s: list[float] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.drivers_killed + self.lanes_killed

    def summary(self) -> dict[str, Any]:
        took = sorted(self.until_next_claim_s) or [0.0]
        return {
            "seed": self.seed,
            "kills": self.kills,
            "drivers_killed": self.drivers_killed,
            "lanes_killed": self.lanes_killed,
            "items": self.items,
            "lost": 0,  # `Field.check` has raised otherwise
            "doubled": 0,
            "repeated_calls": self.repeated,
            "resumed_by_hand": self.resumed,
            "until_next_claim_s": {"median": round(statistics.median(took), 2), "worst": round(took[-1], 2)},
        }


async def kill_at_random(field: Field, kills: int, seed: int) -> Figures:
    """Kill so many processes while runs are worked, let the rest end, and check every promise."""
    rng, figures = random.Random(seed), Figures(seed)
    for _ in range(DRIVERS):
        _drive(field, rng)
    while figures.kills < kills:
        if await field.open_batches() < CLIENTS:
            await field.plant(CLIENTS, PROFILES)
        await asyncio.sleep(rng.uniform(*PAUSE_S))
        await _kill_one(field, rng, figures)
        figures.resumed += await field.resume_failed()
        if figures.kills % 100 == 0:
            print(f"{figures.kills} kills", file=sys.stderr, flush=True)  # noqa: T201, it takes a while
    await field.is_over(120)
    while resumed := await field.resume_failed():  # ten drivers in a row may have been killed just before the end
        figures.resumed += resumed
        await field.is_over(120)
    await field.check()
    figures.items = sum(it["total"] for it in await field.batches())
    figures.repeated = await field.repeated()
    return figures


async def _kill_one(field: Field, rng: random.Random, figures: Figures) -> None:
    victim = rng.choice(field.victims)
    lanes = await field.lane_processes()
    if lanes and rng.random() < LANE_SHARE:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(lanes), signal.SIGKILL)
            figures.lanes_killed += 1
        return
    field.kill(victim)
    figures.drivers_killed += 1
    if rng.random() < 0.2 and field.victims:  # nobody is left for a moment
        field.kill(field.victims[0])
        figures.drivers_killed += 1
    died, before = time.monotonic(), await field.starts()
    while len(field.victims) < DRIVERS:
        _drive(field, rng)
    if len(figures.until_next_claim_s) < 10_000 and await field.running():
        await _next_claim(field, before)
        figures.until_next_claim_s.append(time.monotonic() - died)


async def _next_claim(field: Field, before: int) -> None:
    async def claimed() -> bool:
        return await field.starts() > before or await field.open_batches() == 0

    await field.until(claimed)


def _drive(field: Field, rng: random.Random) -> Victim:
    """A driver whose lanes are threads' loops, or processes."""
    processes_from, lanes = rng.choice([PROCESSES, THREADS])
    return field.drive(MUSTER_PROCESSES_FROM=processes_from, MUSTER_LANES=lanes)
