"""What a batch asks of Prefect's API does not grow with its items."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

from flows.client import client
from muster.ledger import Book
from tests.flows.seen import PROFILES
from tests.flows.simulated import Simulator, a_client, handles

pytestmark = pytest.mark.usefixtures("prefect_api")


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every request that a Prefect client of this process sends in the meantime."""
    sent: list[str] = []
    send_async, send_sync = PrefectHttpxAsyncClient.send, PrefectHttpxSyncClient.send

    async def noted_async(self: PrefectHttpxAsyncClient, request: Any, *rest: Any, **named: Any) -> Any:
        sent.append(f"{request.method} {request.url.path}")
        return await send_async(self, request, *rest, **named)

    def noted_sync(self: PrefectHttpxSyncClient, request: Any, *rest: Any, **named: Any) -> Any:
        sent.append(f"{request.method} {request.url.path}")
        return send_sync(self, request, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PrefectHttpxAsyncClient, "send", noted_async)
        patch.setattr(PrefectHttpxSyncClient, "send", noted_sync)
        yield sent


async def requests_for(book: Book, name: str, items: int) -> list[str]:
    await a_client(book, name, handles(items), profiles_limit=items)
    with counted() as sent:
        await client(client=name, workloads=PROFILES)
    return sent


async def test_a_thousand_items_cost_prefect_no_more_than_fifty(ledger: Book, sim: Simulator):
    await requests_for(ledger, "first", 1)  # a process's first flow also greets the server
    few = await requests_for(ledger, "few", 50)
    many = await requests_for(ledger, "many", 1000)

    assert sim.answered("openai") == {"200": 1051}
    assert len(few) > 10
    assert abs(len(many) - len(few)) <= 0.2 * len(few), (few, many)
