"""A simulator, clients with profiles, and drivers that are processes of the command line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from muster.ledger import Book
from muster.limits import Mode
from muster.planning import Wanted, open_run
from muster.settings import Settings

# Whoever kills drivers says after how many seconds their calls have timed out: with the usual 90 nothing would be left.
COMMAND: Final = (
    "import os; from muster.workloads.profiles import Profiles;"
    "Profiles.longest_s = float(os.environ.get('BENCH_LONGEST_S', Profiles.longest_s));"
    "from entrypoints.cli import main; main()"
)


@contextmanager
def simulator(latency_ms: float, *words: str) -> Iterator[str]:
    """A simulator on a free port; gives its address."""
    command = [sys.executable, "-m", "muster.simulator", "--port", "0", "--latency-ms", str(latency_ms), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101, asked for
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def seen(address: str) -> dict[str, Any]:
    """What the simulator counted of `openai`."""
    said = httpx.get(f"{address}/_sim/calls", trust_env=False).raise_for_status().json()
    return {name: counts["openai"] for name, counts in said.items()} | {"n": sum(said["calls"]["openai"].values())}


def settings_at(home: Path, address: str) -> Settings:
    """The settings of a ledger of its own, for this process and its children."""
    os.environ.update({"MUSTER_HOME": str(home), "OPENAI_BASE_URL": f"{address}/v1", "OPENAI_API_KEY": "simulated"})
    return Settings.read()


def driver(home: Path, **environ: str) -> "subprocess.Popen[bytes]":
    """A driver that looks for work every second."""
    command = [sys.executable, "-c", COMMAND, "reconcile", "--every", "1"]
    with (home / "driver.log").open("ab") as log:
        return subprocess.Popen(command, env=os.environ | environ, stderr=log)  # noqa: S603


async def plant(book: Book, settings: Settings, profiles: dict[str, int], key: str = "bench") -> int:
    """Clients with so many profiles each, and a run over them; its number."""
    for client, n in profiles.items():
        await book.clients.put([{"id": client, "profiles_limit": n}])
        await book.profiles.put([_profile(client, number) for number in range(n)])
    return await open_run(book, settings, Wanted(key, "manual", Mode.NORMAL, ("profiles",), tuple(profiles)))


def _profile(client: str, number: int) -> dict[str, Any]:
    url = f"https://www.linkedin.com/in/{client}-p{number}"
    data = {"headline": f"Head of {number}"}
    return {"client_id": client, "platform": "linkedin", "handle": f"p{number}", "url": url, "data": data}
