"""How soon `POST /batches/{id}/start` answers while 20 other batches are worked by the same server."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Final

import httpx

from benchmarks.field import COMMAND, simulator
from muster.settings import Settings
from muster.wiring import open_book

AT_WORK: Final = 20
STARTED: Final = 20
PROFILES: Final = 400
LATENCY_MS: Final = 2000.0
WORKED_S: Final = 5.0  # before the first is timed


async def measure() -> dict[str, Any]:
    """Starts one after the other, each timed by the caller, over a socket."""
    with simulator(LATENCY_MS) as address, tempfile.TemporaryDirectory() as home:
        os.environ.update({"MUSTER_HOME": home, "OPENAI_BASE_URL": f"{address}/v1", "OPENAI_API_KEY": "simulated"})
        clients = [f"client-{n:02}" for n in range(AT_WORK + STARTED)]
        await _plant(clients)
        with _server() as server:
            took = await _start(server, clients)
    return {
        "at_work": AT_WORK,
        "started": STARTED,
        "median_ms": round(median(took), 1),
        "worst_ms": round(max(took), 1),
    }


@contextmanager
def _server() -> Iterator[str]:
    """`muster serve` on a free port; gives its address."""
    command = [sys.executable, "-c", COMMAND, "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101, asked for
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


async def _plant(clients: list[str]) -> None:
    async with open_book(Settings.read()) as book:
        await book.clients.put([{"id": it, "profiles_limit": PROFILES} for it in clients])
        rows = [
            {"client_id": it, "platform": "linkedin", "handle": f"p{n}", "url": None, "data": {"name": "Ann"}}
            for it in clients
            for n in range(PROFILES)
        ]
        await book.profiles.put(rows)


async def _start(address: str, clients: list[str]) -> list[float]:
    """How many milliseconds each of the later starts took."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as me:
        made = [(await me.post("/batches", json={"client": it, "workload": "profiles"})).json() for it in clients]
        for batch in made[:AT_WORK]:
            (await me.post(f"/batches/{batch['id']}/start")).raise_for_status()
        await asyncio.sleep(WORKED_S)
        took = []
        for batch in made[AT_WORK:]:
            began = time.perf_counter()
            (await me.post(f"/batches/{batch['id']}/start")).raise_for_status()
            took.append(1000 * (time.perf_counter() - began))
            (await me.post(f"/batches/{batch['id']}/cancel")).raise_for_status()  # there are no more than 20 beside
        states = [(await me.get(f"/batches/{it['id']}")).json()["state"] for it in made[:AT_WORK]]
    assert states == ["in_progress"] * AT_WORK, states  # noqa: S101, else nothing went on beside
    return took
