"""Memory of a process that plans and works a batch: it must not grow with the number of items."""

import asyncio
import json
import resource
import subprocess
import sys
from typing import Any

from benchmarks import server, work

SIZES = (1_000, 50_000)
IN_FLIGHT = 64


async def measure() -> dict[str, Any]:
    """Each size in a process of its own: a peak is never given back."""
    with server.running() as address:
        peaks = {size: _peak_of(size, address) for size in SIZES}
    small, large = peaks.values()
    return {"peak_mib_by_items": peaks, "growth_mib": round(large - small, 1)}


def _peak_of(items: int, address: str) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", str(items), address]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603, our own module
    return float(json.loads(ended.stdout))


async def _work(items: int) -> None:
    async with work.batch(items, IN_FLIGHT) as (book, batch_id, limits):
        await work.work(book, batch_id, limits)


if __name__ == "__main__":
    work.Calls.address = sys.argv[2]
    asyncio.run(_work(int(sys.argv[1])))
    print(json.dumps(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)))
