"""Schemathesis asks everything that the description allows, and what it forbids; every check holds."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, settings

from entrypoints.api.app import create_app
from entrypoints.api.works import Works
from muster import signals
from muster.ledger import Book
from muster.settings import Settings
from muster.tokens import make
from tests.flows.simulated import a_client

EXAMPLES: Final = 15  # of an operation


@dataclass(frozen=True)
class Server:
    """Where it listens, and what opens it."""

    address: str
    token: str


@asynccontextmanager
async def _ledger(folder: Path) -> AsyncIterator[tuple[Book, Settings, str]]:
    """A client with profiles, a batch that is held, one that is cancelled, a token, a driver that lives."""
    address = f"sqlite+aiosqlite:///{folder / 'ledger.db'}"
    read = Settings.model_validate({"database_url": address, "stale_seconds": 3600})
    async with Book(address) as book:
        await book.upgrade()
        await a_client(book, "acme", ["a", "b"])
        await book.drivers.enter("driver")
        yield book, read, (await make(book, "schema", None))[1]


async def _serve(folder: Path, ready: "threading.Event", found: list[Any]) -> None:
    async with _ledger(folder) as (book, read, token):
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
def _served(folder: Path) -> Iterator[Server]:
    ready, found = threading.Event(), list[Any]()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(folder, ready, found)))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0]
    finally:
        found[1].should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _served(tmp_path_factory.mktemp("schema")) as server:
        with httpx.Client(base_url=server.address, headers=_shown(server), trust_env=False) as me:
            for order in ("", "/cancel"):
                made = me.post("/batches", json={"client": "acme", "workload": "profiles"}).json()
                assert not order or me.post(f"/batches/{made['id']}{order}").status_code == 200
        yield server


@pytest.fixture
def described(server: Server) -> schemathesis.BaseSchema:
    # A stream of an open batch goes on; its own tests read it.
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    return schema.exclude(path="/batches/{batch_id}/stream")


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case: schemathesis.Case, server: Server):
    case.call_and_validate(headers=_shown(server))


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
