"""How near 1,000 prompts × 4 providers come to the ideal, where nothing but the calls' own time binds."""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.field import simulator
from muster.ledger import Book
from muster.limits import Mode
from muster.planning import Wanted, open_run
from muster.running import work_run
from muster.settings import Settings
from muster.wiring import open_book

PROMPTS: Final = 1000
PROVIDERS: Final = {"OPENAI": "/v1", "PERPLEXITY": "", "GEMINI": "/v1beta", "ANTHROPIC": ""}
LATENCY_S: Final = 0.4  # a tenth of what a model that searches takes
IN_FLIGHT: Final = 32


async def measure() -> dict[str, Any]:
    """One lane, 32 calls in flight over all four, calls of 0.32 to 0.48 s, 0.4 on average."""
    with simulator(1000 * LATENCY_S) as address, tempfile.TemporaryDirectory() as home:
        async with open_book(_settings(Path(home), address)) as book:
            settings = Settings.read()
            items = await _plant(book, settings)
            began = time.perf_counter()
            async with asyncio.timeout(600):
                assert not await work_run(book, settings, 1)  # noqa: S101, nothing went wrong
            took = time.perf_counter() - began
            (batch,) = await book.readings.batches_of_run(1)
    ideal = items * LATENCY_S / IN_FLIGHT
    return {
        "items": items,
        "succeeded": batch["succeeded"],
        "ideal_s": round(ideal, 1),
        "took_s": round(took, 1),
        "efficiency": round(ideal / took, 3),
    }


def _settings(home: Path, address: str) -> Settings:
    os.environ.update({"MUSTER_HOME": str(home), "MUSTER_LANES": "1", "MUSTER_IN_FLIGHT": str(IN_FLIGHT)})
    os.environ.update({f"{name}_BASE_URL": f"{address}{path}" for name, path in PROVIDERS.items()})
    os.environ.update({f"{name}_API_KEY": "simulated" for name in PROVIDERS})
    return Settings.read()


async def _plant(book: Book, settings: Settings) -> int:
    await book.clients.put([{"id": "acme", "service_level": 2, "brand": ["Acme"], "competitors": [["Beta"]]}])
    prompts = [{"client_id": "acme", "key": f"p{n}", "text": f'Is "Acme" best for number {n}?'} for n in range(PROMPTS)]
    await book.prompts.put(prompts)
    run_id = await open_run(book, settings, Wanted("bench", "manual", Mode.NORMAL, ("prompts",)))
    return sum(it["total"] for it in await book.readings.batches_of_run(run_id))
