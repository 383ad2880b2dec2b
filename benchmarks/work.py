"""A workload that costs nothing but its call, and a ledger with a batch of it."""

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import orjson

from muster.attempts import Job
from muster.engine import Lane
from muster.landing import Claimed, Landing, NewItem
from muster.ledger import Book
from muster.ledger.database import Tx
from muster.ledger.opening import NewBatch
from muster.ledger.runs import NewRun
from muster.ledger.tables import Client
from muster.limits import Limits, Mode, Terms, limits_for
from muster.outcomes import Outcome, Succeeded
from muster.settings import Settings
from muster.upstreams.caller import Call, Caller
from muster.workload import Context

ASKED = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 300}]})


class Calls:
    """One POST an item."""

    name: ClassVar[str] = "calls"
    needs: ClassVar[tuple[str, ...]] = ()
    nothing: ClassVar[str] = "no calls"
    narrowed_by: ClassVar[frozenset[str]] = frozenset()
    longest_s: ClassVar[float] = 60.0
    address: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def terms(self, limits: Limits) -> Terms:
        """No limits."""
        return Terms()

    def bar(self, limits: Limits) -> str | None:
        """Everybody may."""
        return None

    async def plan(
        self, book: Book, client: Client, limits: Limits, request: Mapping[str, Any]
    ) -> AsyncGenerator[NewItem, None]:
        """As many items as are asked for."""
        for number in range(request["items"]):
            yield NewItem(str(number), "web", {"number": number, "data": "x" * 200})

    async def attempt(self, item: Claimed, ctx: Context) -> Outcome:
        """Call and read the answer."""
        call = Call("POST", self.address, {"authorization": "Bearer x"}, ASKED)
        answer = await ctx.caller.send(call, upstream="web", timeout=60)
        return Succeeded(result={"id": answer.json()["id"]})

    async def settle(self, tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
        """No rows of its own."""
        return {}


@asynccontextmanager
async def batch(items: int, in_flight: int) -> AsyncIterator[tuple[Book, int, Limits]]:
    """A fresh ledger on SQLite with one batch of so many items."""
    with tempfile.TemporaryDirectory() as folder:
        async with Book(f"sqlite+aiosqlite:///{Path(folder) / 'bench.db'}") as book:
            await book.upgrade()
            await book.clients.put([{"id": "acme"}])
            (client,) = await book.clients.all()
            settings = Settings.read()
            limits = limits_for(settings, client, Mode.NORMAL, Calls.name).model_copy(update={"in_flight": in_flight})
            run_id, _ = await book.runs.open(NewRun("bench", "manual", Mode.NORMAL, {}), [])
            new = NewBatch(run_id, client.id, Calls.name, "bench/acme/calls", limits, Terms(), {})
            workload = Calls(settings)
            batch_id, _ = await book.batches.open(new, lambda: workload.plan(book, client, limits, {"items": items}))
            yield book, batch_id, limits


async def work(book: Book, batch_id: int, limits: Limits) -> None:
    """Work the batch with one lane."""
    settings = Settings.read()
    lease = await book.batches.take(batch_id, "bench")
    job = Job(lease, Calls(settings), limits, Terms(), ("web",))
    async with Caller() as caller:
        tally = await Lane(book, caller, settings, job, lambda: False).work()
    assert set(tally) == {"succeeded"}, tally  # noqa: S101
