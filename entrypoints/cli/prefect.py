"""Prefect as the command needs it: reachable, quiet, and a server of our own for the demo.

Prefect reads its settings when it is imported, so these functions run before that and import nothing of it.
"""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from muster.errors import Unreachable
from muster.settings import Settings

BATCHING: Final = {  # one at a time, its SQLite locks, and each flow waits seconds for it
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
}
REACH_S: Final = 5
START_S: Final = 180  # the first start migrates Prefect's own database
QUIET: Final = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_CLI_COLORS": "false",
}


def quiet_prefect() -> None:
    """No telemetry, no log lines between ours."""
    os.environ.update(QUIET)


async def reach_prefect(settings: Settings) -> None:
    """Make sure that Prefect's API answers.

    Raises:
        Unreachable: it does not.
    """
    api = str(settings.prefect_api_url)
    if not await _is_up(api, REACH_S):
        raise Unreachable(
            f"Prefect's API at {without_login(api)} does not answer; start it with `prefect server start`,"
            " or unset PREFECT_API_URL to run without it."
        )


def without_login(address: str) -> str:
    """An address as it may be shown: no user, no password."""
    return re.sub(r"//[^/@]*@", "//***@", address)


@asynccontextmanager
async def own_server(home: Path) -> AsyncIterator[str]:
    """A Prefect server of our own on a free loopback port, its state in `home`; gives its API's address."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    os.environ.update(QUIET | BATCHING | {"PREFECT_HOME": str(home), "PREFECT_API_URL": api})
    command = ("-m", "prefect", "server", "start", "--port", str(port), "--no-ui")
    async with process(home / "server.log", *command) as server:
        async with asyncio.timeout(START_S):
            while not await _is_up(api, 1):
                if server.returncode is not None:
                    raise Unreachable(f"Prefect's server did not start; {home / 'server.log'} says why.")
                await asyncio.sleep(0.25)
        yield api


@asynccontextmanager
async def process(log: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process in a session of its own (Ctrl+C is not for it), ended on the way out."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdout=file,
            stderr=file,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        await _end(child)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.terminate()
        try:
            async with asyncio.timeout(5):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


async def _is_up(api: str, patience_s: float) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=patience_s) as client:
            return (await client.get(f"{api.rstrip('/')}/health")).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
