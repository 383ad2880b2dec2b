"""Schemathesis asks everything that the description allows, and what it forbids; every check holds."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import uvicorn

from entrypoints.api.app import create_app
from entrypoints.api.works import Works
from muster import signals
from muster.ledger import Book
from muster.settings import Settings
from muster.tokens import make
from tests.flows.simulated import a_client

COMMAND: Final = (sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()")
EXAMPLES: Final = 10  # of an operation


@dataclass(frozen=True)
class Server:
    """Where it listens, and what opens it."""

    address: str
    token: str


@asynccontextmanager
async def _ledger(address: str) -> AsyncIterator[tuple[Book, Settings, str]]:
    """A client with profiles, a batch that is held, one that is cancelled, a token, a driver that lives."""
    read = Settings.model_validate({"database_url": address, "stale_seconds": 3600})
    async with Book(address, stale_after=timedelta(seconds=read.stale_seconds)) as book:
        await book.upgrade()
        await a_client(book, "acme", ["a", "b"])
        await book.drivers.enter("driver")
        yield book, read, (await make(book, "schema", None))[1]


async def _serve(address: str, ready: "threading.Event", found: list[Any]) -> None:
    async with _ledger(address) as (book, read, token):
        works = Works(book, read, lambda _: None)
        config = uvicorn.Config(create_app(book, read, works), port=0, lifespan="off", log_level="critical", ws="none")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        found += [Server(f"http://127.0.0.1:{port}", token), server]
        ready.set()
        await serving
        signals.stop()
        await works.end()


@contextmanager
def _served(address: str) -> Iterator[Server]:
    ready, found = threading.Event(), list[Any]()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(address, ready, found)))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0]
    finally:
        found[1].should_exit = True
        thread.join()


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    with _served(database_url) as server:
        with httpx.Client(base_url=server.address, headers=_shown(server), trust_env=False) as me:
            for order in ("", "/cancel"):
                made = me.post("/batches", json={"client": "acme", "workload": "profiles"}).json()
                assert not order or me.post(f"/batches/{made['id']}{order}").status_code == 200
        yield server


def test_every_answer_is_as_described(server: Server, tmp_path: Path):
    words = [
        "run", f"{server.address}/openapi.json", "--checks", "all", "--header", f"Authorization: Bearer {server.token}",
        "--exclude-path", "/batches/{batch_id}/stream",  # of an open batch it goes on; its own tests read it
        "--max-examples", str(EXAMPLES), "--seed", "816089", "--generation-database", "none", "--no-color",
        "--request-timeout", "20", "--continue-on-failure",
    ]  # fmt: skip
    ended = subprocess.run(  # noqa: S603
        [*COMMAND, *words], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=240, check=False
    )

    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr


def test_every_operation_says_who_may_ask_and_how_it_refuses(server: Server):
    described = httpx.get(f"{server.address}/openapi.json", trust_env=False).json()

    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert {"401", "403", "500", "503"} <= operation["responses"].keys()
            assert path == "/healthz" or operation["security"][0] == {"HTTPBearer": []}
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"]


def _shown(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token}"}
