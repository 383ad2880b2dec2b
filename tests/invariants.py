"""What must hold of a ledger at every instant, whatever happened to it."""

from collections import Counter

from sqlalchemy import func, select

from muster.ledger import Book
from muster.ledger.database import Tx
from muster.ledger.domain import POST
from muster.ledger.tables import BATCH, ITEM
from muster.states import CLOSED_ITEMS, ItemState


async def check_ledger(book: Book) -> None:
    """Counters equal rows, reservations are what running items hold, gains are the posts that are there."""
    await book.database.read(_check)


async def _check(tx: Tx) -> None:
    for batch in await tx.rows(select(BATCH)):
        rows = await tx.rows(
            select(ITEM.c.state, func.count().label("n"), func.sum(ITEM.c.reserved).label("reserved"))
            .where(ITEM.c.batch_id == batch["id"])
            .group_by(ITEM.c.state)
        )
        states = Counter({row["state"]: row["n"] for row in rows})
        assert {state: batch[state] for state in CLOSED_ITEMS} == {state: states[state] for state in CLOSED_ITEMS}
        assert batch["total"] == states.total()
        assert batch["reserved"] == sum(row["reserved"] for row in rows)
        assert batch["reserved"] == 0 or states[ItemState.RUNNING]
        if batch["workload"] == "posts":
            mine = select(ITEM.c.id).where(ITEM.c.batch_id == batch["id"])
            posts = await tx.value(select(func.count()).select_from(POST).where(POST.c.item_id.in_(mine)))
            assert batch["gained"] >= posts  # equal, unless a re-harvest of another run
