"""The API as a program meets it, without a socket; beside it work is driven for real or not at all."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from entrypoints.api.app import create_app
from entrypoints.api.works import Works
from muster import signals
from muster.ledger import Book
from muster.settings import Settings
from muster.tokens import make
from tests.flows.simulated import Simulator, a_client

PROBLEM = "application/problem+json"


@dataclass
class Api:
    """A ledger with its API; whoever asks without a peer of its own is this machine."""

    book: Book
    settings: Settings
    works: Works
    said: list[str]

    def caller(self, token: str | None = None, *, peer: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(
            create_app(self.book, self.settings, self.works), raise_app_exceptions=False, client=(peer, 4711)
        )
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers={**shown, **headers})

    async def token(self, client: str | None = None) -> str:
        return (await make(self.book, "test", client))[1]

    async def batch(self, client: str = "acme", handles: Sequence[str] = ("a", "b"), **asked: Any) -> int:
        """A held batch of profiles to score, made in the ledger."""
        await a_client(self.book, client, handles)
        made = await self.caller().post("/batches", json={"client": client, "workload": "profiles", **asked})
        assert made.status_code == 201, made.text
        return int(made.json()["id"])


@asynccontextmanager
async def an_api(database_url: str, upstreams: Simulator | None = None, **settings: Any) -> AsyncIterator[Api]:
    """An API over an empty ledger; what it drives ends with it."""
    environ = upstreams.environ if upstreams else {}
    read = Settings.model_validate({"database_url": database_url, "stale_seconds": 8, **environ, **settings})
    async with Book(database_url, stale_after=timedelta(seconds=read.stale_seconds)) as book:
        await book.upgrade()
        said: list[str] = []
        works = Works(book, read, said.append)
        try:
            yield Api(book, read, works, said)
        finally:
            signals.stop()
            await works.end()


def flaw(answer: httpx.Response, status: int) -> str:
    """The sentence of a problem, once its shape is checked."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    said = answer.json()
    assert {"type", "title", "status", "detail"} <= said.keys()
    assert said["status"] == status
    return str(said["detail"])
