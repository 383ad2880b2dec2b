"""Prefect API requests for one batch: the same number, whatever the number of items."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks import server
from entrypoints.cli.prefect import own_server
from muster.limits import Mode
from muster.settings import Settings
from muster.wiring import open_book

SIZES = (50, 5_000)


async def measure() -> dict[str, Any]:
    """Each size through the real `client` flow, in a process of its own, on one real server."""
    with tempfile.TemporaryDirectory() as folder, server.running() as address:
        async with own_server(Path(folder) / "prefect"):
            await asyncio.to_thread(_count, 1, address, folder)  # the first run registers the flow
            requests = {size: await asyncio.to_thread(_count, size, address, folder) for size in SIZES}
    small, large = requests.values()
    return {"requests_by_items": requests, "ratio": round(large / small, 2)}


def _count(items: int, address: str, folder: str) -> int:
    environment = os.environ | {
        "MUSTER_HOME": f"{folder}/home-{items}",
        "OPENAI_BASE_URL": address,
        "OPENAI_API_KEY": "bench",
        "MUSTER_IN_FLIGHT": "64",
    }
    command = [sys.executable, "-m", "benchmarks.prefect_calls", str(items)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603, our own
    return int(json.loads(ended.stdout.splitlines()[-1]))


async def _run(items: int) -> int:
    from flows.client import client  # noqa: PLC0415, after Prefect's address is set
    from flows.parameters import WorkloadName  # noqa: PLC0415

    seen = _counted()
    async with open_book(Settings.read()) as book:
        await book.clients.put([{"id": "acme", "profiles_limit": items}])
        profile = {"client_id": "acme", "platform": "x", "url": None, "data": {"headline": "buys"}}
        await book.profiles.put([{**profile, "handle": str(number)} for number in range(items)])
    await client(client="acme", workloads=[WorkloadName("profiles")], mode=Mode.NORMAL)
    return seen.total()


def _counted() -> "Counter[str]":
    """Count what any httpx client of this process sends; the engine's calls go another way."""
    seen: Counter[str] = Counter()
    send = httpx.AsyncHTTPTransport.handle_async_request

    async def counting(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        seen[request.url.path] += 1
        return await send(self, request)

    httpx.AsyncHTTPTransport.handle_async_request = counting  # type: ignore[method-assign]
    return seen


if __name__ == "__main__":
    print(asyncio.run(_run(int(sys.argv[1]))))
