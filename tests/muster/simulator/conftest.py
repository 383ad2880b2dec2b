"""A simulator in this process, and a client that talks to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from muster.simulator import Options, create_app

Open = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens a client to a new simulator with the given options, and closes it at the end."""
    async with AsyncExitStack() as stack:

        async def open_one(key: str = "any-key", **options: Any) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(create_app(Options(**options)))
            headers = {"authorization": f"Bearer {key}"} if key else {}
            client = httpx.AsyncClient(transport=transport, base_url="http://simulator", headers=headers)
            return await stack.enter_async_context(client)

        yield open_one
