"""Articles: rounds of keywords beside their ideal, and the memory that a keyword in flight costs."""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.field import simulator
from muster.commissions import Commission, commit
from muster.running import work_run
from muster.settings import Settings
from muster.wiring import open_book

RESEARCH_S, WRITING_S = 0.3, 2.7  # a tenth of what they usually take
KEYWORDS, PARALLEL, ROUNDS = 5, 3, 2
MANY, AT_ONCE = 200, 50
SIMULATED: Final = ("--latency-of", f"tavily={1000 * RESEARCH_S:g}", "--latency-spread", "0")


async def measure() -> dict[str, Any]:
    """Each measurement in a process of its own: a peak of memory is never given back."""
    with simulator(1000 * WRITING_S, *SIMULATED) as address:
        start_up = min(_measured(address, 1, 1)["took_s"] for _ in range(3)) - (RESEARCH_S + WRITING_S)
        few = _measured(address, KEYWORDS, PARALLEL)
        alone, many = _measured(address, MANY // AT_ONCE, 1), _measured(address, MANY, AT_ONCE)
    ideal = ROUNDS * (RESEARCH_S + WRITING_S)
    return {
        "keywords": KEYWORDS,
        "parallel": PARALLEL,
        "ideal_s": ideal,
        "start_up_s": round(start_up, 2),
        "took_s": round(few["took_s"], 2),
        "over_ideal": round((few["took_s"] - start_up) / ideal - 1, 3),
        "many": MANY,
        "at_once": AT_ONCE,
        "many_took_s": round(many["took_s"], 1),
        "mib_per_item_in_flight": round((many["peak_mib"] - alone["peak_mib"]) / (AT_ONCE - 1), 2),
        "peak_mib": {"1 at once": alone["peak_mib"], f"{AT_ONCE} at once": many["peak_mib"]},
    }


def _measured(address: str, keywords: int, parallel: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        environ = {"MUSTER_HOME": home, "TAVILY_API_KEY": "sim", "OPENAI_API_KEY": "sim"}
        environ |= {"OPENAI_BASE_URL": f"{address}/v1", "TAVILY_BASE_URL": address}
        command = [sys.executable, "-m", "benchmarks.articles", str(keywords), str(parallel)]
        ended = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=True)  # noqa: S603
    return dict(json.loads(ended.stdout))


async def _work(keywords: int, parallel: int) -> dict[str, float]:
    settings = Settings.read()
    async with open_book(settings) as book:
        words = tuple(f"keyword {n}" for n in range(keywords))
        began = time.perf_counter()
        batch = await commit(book, settings, Commission(words, Path(settings.home) / "drafts", parallel=parallel))
        assert not await work_run(book, settings, batch["run_id"])  # noqa: S101, nothing went wrong
        took = time.perf_counter() - began
        assert (await book.readings.batch(batch["id"]))["succeeded"] == keywords  # noqa: S101
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"took_s": took, "peak_mib": round(peak, 1)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_work(int(sys.argv[1]), int(sys.argv[2])))))
