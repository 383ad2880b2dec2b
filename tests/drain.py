"""Drives a run to its end through the production path, in this process, against the simulator behind httpx's seam."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from muster.driver import drive
from muster.engine import Lane
from muster.ledger import Book
from muster.ledger.database import Row
from muster.ledger.drivers import Turn
from muster.ledger.lease import Lease
from muster.limits import Mode
from muster.planning import Wanted, open_run
from muster.running import batches_to_work
from muster.settings import Settings
from muster.simulator import Options, create_app
from muster.upstreams.caller import Caller
from muster.wiring import job_of


class World:
    """A simulator, a ledger, and the settings that bring them together."""

    least_lanes = 2  # more than one, so that whatever goes on at the same time is seen

    def __init__(self, book: Book, **options: Any) -> None:
        self.book = book
        self.transport: httpx.AsyncBaseTransport = httpx.ASGITransport(create_app(Options(**options)))
        self.settings = Settings.model_validate(
            {
                "OPENAI_BASE_URL": "http://simulator/v1",
                "OPENAI_API_KEY": "sim",
                "APIFY_BASE_URL": "http://simulator",
                "APIFY_TOKEN": "sim",
                "STORIES_BASE_URL": "http://simulator",
                "TAVILY_BASE_URL": "http://simulator",
                "TAVILY_API_KEY": "sim",
                "stories_platform": "linkedin",
                "pair_spacing_seconds": 0,
                "providers": ("openai",),
                "lanes": 3,
                "in_flight": 4,
            }
        )

    def set(self, **changes: Any) -> None:
        self.settings = self.settings.model_copy(update=changes)

    async def client(self, client_id: str, handles: Sequence[str], **columns: Any) -> None:
        """A client with profiles on LinkedIn, and a prompt of each one's name."""
        await self.book.clients.put([{"id": client_id, "service_level": 2, **columns}])
        await self.book.profiles.put([profile(client_id, handle) for handle in handles])
        await self.book.prompts.put([{"client_id": client_id, "key": it, "text": it} for it in handles])
        await self.pairs("one", "two", "three", "four")

    async def pairs(self, *sessions: str) -> None:
        """An endpoint pair for each session, none of which is used through its proxy here."""
        await self.book.pairs.put([a_pair(f"{at}.proxy:8080", it) for at, it in enumerate(sessions, 1)])

    async def run(self, *workloads: str, mode: Mode = Mode.NORMAL, key: str = "night", **wanted: Any) -> list[Row]:
        """Open the run and work it to its end; its batches."""
        names = workloads or ("profiles", "posts")
        run_id = await open_run(self.book, self.settings, Wanted(key, "test", mode, names, **wanted))
        async with asyncio.timeout(60):
            for client in dict.fromkeys(it["client_id"] for it in await self.book.readings.batches_of_run(run_id)):
                for batch_id in await batches_to_work(self.book, Turn(client, run_id)):
                    await drive(self.book, self.settings, batch_id, self.lanes)
        await self.book.runs.close(run_id)
        return list(await self.book.readings.batches_of_run(run_id))

    async def lanes(self, lease: Lease, n: int, apart: bool) -> list[BaseException]:
        ended = await asyncio.gather(
            *(self.lane(lease) for _ in range(max(n, self.least_lanes))), return_exceptions=True
        )
        return [it for it in ended if isinstance(it, BaseException)]

    async def lane(self, lease: Lease) -> None:
        job = await job_of(self.book, lease, self.settings)
        async with Caller(self.transport) as caller:
            await Lane(self.book, caller, self.settings, job, lambda: False).work()

    async def calls(self, upstream: str) -> Mapping[str, int]:
        """How often each item was called for, by the last part of its profile's address."""
        request = httpx.Request("GET", "http://simulator/_sim/calls")
        response = await self.transport.handle_async_request(request)
        seen = orjson.loads(await response.aread())["calls"].get(upstream, {})
        return {identity.rpartition("/")[2]: n for identity, n in seen.items()}


def a_pair(address: str, session: str, **said: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"scheme": "http", "username": None, "password": None, "headers": {}}
    return {"address": address, "cookies": {"sessionid": session}, **usual, **said}


def profile(client_id: str, handle: str, **said: Any) -> dict[str, Any]:
    usual = {
        "platform": "linkedin",
        "url": f"https://www.linkedin.com/in/{handle}",
        "data": {"name": handle, "headline": "Head of buying"},
    }
    return {"client_id": client_id, "handle": handle, **usual, **said}
