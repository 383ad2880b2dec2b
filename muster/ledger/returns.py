"""How items come back: from lanes that ended cleanly, and from those that crashed with items in flight.

Only a crash counts against an item. From `SUSPECT_FROM` crashes on it is worked alone, in a process of its own, and
fails as `poison` if it brings that down as well; its neighbours in flight never do.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from muster.ledger import statements as sql
from muster.ledger.allotments import settle_charges
from muster.ledger.beats import is_alive
from muster.ledger.database import Row, Tx
from muster.ledger.journal import Level, log
from muster.ledger.standing import Standing, end_if_over, fail_at
from muster.outcomes import ErrorKind
from muster.states import ItemState

POISON_UNSEEN: Final = 5  # crashes of an item that was alone, where nobody saw whether it was to blame


POISON: Final = "Brought down the process in which it was worked alone"


async def give_back(tx: Tx, batch: Row, lanes: Sequence[str]) -> int:
    """Return what some lanes hold, which ended cleanly, and drop the lanes; the number of items."""
    return await _return(tx, batch, lanes, crashed=0)


async def give_back_crashed(tx: Tx, batch: Row, lanes: Sequence[str], now: datetime, *, seen: bool) -> int:
    """Return what some lanes held when they crashed; `seen` says that the driver lived and saw them die.

    An item that was alone in its process fails as `poison`: at once where that was seen, otherwise when it has
    happened too often to be chance.
    """
    least = 0 if seen else POISON_UNSEEN - 1
    held = {"of_batch": batch["id"], "lanes": lanes, "least": least}
    await settle_charges(tx, lanes)
    poisoned = [row["id"] for row in await tx.rows(sql.POISONED_ITEMS, held)]
    await tx.run(sql.RECORD_CRASH, {**held, "now": now})
    if poisoned:
        await _fail_poisoned(tx, batch, poisoned, now)
    return len(poisoned) + await _return(tx, batch, lanes, crashed=1)


async def give_back_all(tx: Tx, batch: Row) -> int:
    """Return all that any lane of the batch holds, cleanly."""
    return await give_back(tx, batch, await lanes_of(tx, batch["id"]))


async def lanes_of(tx: Tx, batch_id: int) -> Sequence[str]:
    """The lanes that hold items of a batch or are written down for it."""
    return [row["lane"] for row in await tx.rows(sql.LANES_OF_BATCH, {"of_batch": batch_id})]


async def silent_lanes(tx: Tx, batch_id: int, now: datetime) -> Sequence[str]:
    """The lanes of a batch that fell silent, and those that hold items although nobody wrote them down."""
    beats = await tx.rows(sql.LANE_BEATS, {"batch_id": batch_id})
    alive = {row["id"] for row in beats if is_alive(row["beat_at"], now, tx.stale_after)}
    return [lane for lane in await lanes_of(tx, batch_id) if lane not in alive]


async def end_after_return(tx: Tx, before: Row, now: datetime) -> Standing:
    """Close the batch if the items that came back were the last; those of a reached target are skipped.

    `before` is the batch as it was before they came back: one of them may have failed as poison.
    """
    batch = await tx.row(sql.LOCK_ANY_BATCH, {"batch_id": before["id"]})
    assert batch is not None, "it is locked by this transaction"  # noqa: S101
    standing = await end_if_over(tx, batch, batch, {}, now)
    return await fail_at(tx, batch, standing, POISON if batch["failed"] > before["failed"] else None, now)


async def _return(tx: Tx, batch: Row, lanes: Sequence[str], *, crashed: int) -> int:
    freed = await tx.value(sql.RESERVED_BY, {"of_batch": batch["id"], "lanes": lanes})
    returned = await tx.run(sql.RETURN_ITEMS, {"of_batch": batch["id"], "lanes": lanes, "crashed": crashed})
    if freed:
        await tx.run(sql.RESERVE, {"batch_id": batch["id"], "reserves": -int(freed)})
    await tx.run(sql.DROP_LANES, {"lanes": lanes})
    return returned


async def _fail_poisoned(tx: Tx, batch: Row, ids: Sequence[int], now: datetime) -> None:
    freed = await tx.value(sql.RESERVED_FOR, {"ids": ids})
    closed = {"ids": ids, "to": ItemState.FAILED, "kind": ErrorKind.POISON, "said": POISON, "now": now}
    failed = await tx.run(sql.CLOSE_ITEMS, closed)
    counts = {"batch_id": batch["id"], **sql.NO_COUNTS, "more_failed": failed, "freed": int(freed)}
    await tx.run(sql.COUNT, counts)
    for item_id in ids:
        await log(tx, batch["id"], now, "item.poison", f"{POISON}.", level=Level.ERROR, item_id=item_id)
