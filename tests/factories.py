"""Things that are right by construction."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from muster.landing import Landing, NewItem
from muster.ledger import Book
from muster.ledger.database import Tx
from muster.ledger.lease import Lease
from muster.ledger.opening import NewBatch
from muster.ledger.runs import NewRun
from muster.ledger.tables import USUAL_PRIORITY
from muster.limits import Limits, Mode, Terms
from muster.selection import Decision


def some_limits(**said: Any) -> Limits:
    usual: dict[str, Any] = {
        "mode": Mode.NORMAL,
        "profiles": 100,
        "batch_size": 20,
        "max_batches": 10,
        "posts_target": None,
        "posts_per_profile": 2,
        "tries": 3,
        "lanes": 2,
        "in_flight": 4,
    }
    return Limits(**{**usual, **said})


async def a_client(book: Book, client_id: str = "acme", **said: Any) -> str:
    await book.clients.put([{"id": client_id, **said}])
    return client_id


async def a_batch(
    book: Book,
    items: int = 5,
    *,
    key: str = "k",
    client: str = "acme",
    terms: Terms | None = None,
    workload: str = "numbers",
    priority: int = USUAL_PRIORITY,
    held: bool = False,
    **limits: Any,
) -> int:
    """An open batch of numbered items of an upstream called `web`, with its client and run."""
    await a_client(book, client)
    run_id, _ = await book.runs.open(
        NewRun(f"run-{key}", "manual", Mode.NORMAL, {}), [Decision(client, True, (workload,), None)]
    )

    async def plan() -> AsyncGenerator[NewItem, None]:
        for number in range(items):
            yield NewItem(str(number), "web", {"number": number})

    new = NewBatch(run_id, client, workload, key, some_limits(**limits), terms or Terms(), {}, priority, held)
    batch_id, _ = await book.batches.open(new, plan)
    return batch_id


async def a_lease(book: Book, items: int = 5, *, lanes: Sequence[str] = ("one",), **said: Any) -> Lease:
    """A taken batch with lanes on it."""
    lease = await book.batches.take(await a_batch(book, items, **said), "me")
    for lane in lanes:
        await book.lanes.enter(lease, lane)
    return lease


async def no_rows(tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
    return {}


async def all_gained(tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
    return {landing.item.id: landing.item.reserved for landing in closed}
