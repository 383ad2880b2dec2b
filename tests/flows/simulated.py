"""The simulator as a process of its own, and clients with profiles for it to judge."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from muster.ledger import Book


@dataclass(frozen=True)
class Simulator:
    """Where it listens, and what it was asked."""

    address: str

    @property
    def environ(self) -> dict[str, str]:
        """The variables that send every call to it."""
        return {
            "OPENAI_BASE_URL": f"{self.address}/v1",
            "OPENAI_API_KEY": "simulated",
            "PERPLEXITY_BASE_URL": self.address,
            "PERPLEXITY_API_KEY": "simulated",
            "GEMINI_BASE_URL": f"{self.address}/v1beta",
            "GEMINI_API_KEY": "simulated",
            "ANTHROPIC_BASE_URL": self.address,
            "ANTHROPIC_API_KEY": "simulated",
            "APIFY_BASE_URL": self.address,
            "APIFY_TOKEN": "simulated",
            "STORIES_BASE_URL": self.address,
            "TAVILY_BASE_URL": self.address,
            "TAVILY_API_KEY": "simulated",
        }

    def calls(self, upstream: str) -> Counter[str]:
        """How often each profile was asked about."""
        return Counter(self._seen()["calls"][upstream])

    def order(self, upstream: str) -> list[str]:
        """Who was asked about, in the order of the first calls."""
        return list(self._seen()["calls"][upstream])

    def most_in_flight(self, upstream: str) -> int:
        return int(self._seen()["max_in_flight"][upstream])

    def in_flight(self, upstream: str) -> int:
        return int(self._seen()["in_flight"][upstream])

    def most_in_minute(self, upstream: str) -> int:
        return int(self._seen()["max_in_minute"][upstream])

    def answered(self, upstream: str) -> dict[str, int]:
        """How many answers there were of each status."""
        return dict(self._seen()["answered"][upstream])

    def pairs(self) -> dict[str, Any]:
        """The proxies, and what came by each."""
        return dict(httpx.get(f"{self.address}/_sim/pairs", trust_env=False).raise_for_status().json())

    def reset(self) -> None:
        httpx.post(f"{self.address}/_sim/reset", trust_env=False).raise_for_status()

    def _seen(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.address}/_sim/calls", trust_env=False).raise_for_status().json())


@contextmanager
def simulator(latency_ms: float = 0, *words: str) -> Iterator[Simulator]:
    """A simulator on a free port, ended by its own process."""
    command = [sys.executable, "-m", "muster.simulator", "--port", "0", "--latency-ms", str(latency_ms), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            yield Simulator(process.stdout.readline().split()[-1])
        finally:
            process.terminate()


async def a_client(book: Book, client_id: str, handles: Sequence[str], **said: Any) -> None:
    """A client with profiles; by default an active one that may have posts harvested."""
    usual = {"state": "active", "service_level": 2, "posts_target": 4}
    await book.clients.put([{"id": client_id, **usual, **said}])
    await book.profiles.put([_profile(client_id, handle) for handle in handles])


def handles(count: int, start: str = "p") -> list[str]:
    """So many handles in which no marker stands."""
    return [f"{start}{number}" for number in range(count)]


def _profile(client_id: str, handle: str) -> dict[str, Any]:
    url = f"https://www.linkedin.com/in/{client_id}-{handle}"
    data = {"headline": f"Head of {handle}"}
    return {"client_id": client_id, "platform": "linkedin", "handle": handle, "url": url, "data": data}


async def items_of(book: Book, run_key: str) -> list[dict[str, Any]]:
    """Every item of a run, with its batch's client and workload."""
    return [
        {**item, "client": batch["client_id"], "workload": batch["workload"]}
        for batch in await book.readings.batches_of_key(run_key)
        async for item in book.readings.items(batch["id"])
    ]


def states(items: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(item["state"] for item in items)
