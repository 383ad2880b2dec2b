"""What a claim is made of: which items are due, what of the allowance each may use, and that they now run."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import Executable

from muster.landing import Claimed
from muster.ledger import statements as sql
from muster.ledger.database import Row, Tx
from muster.ledger.lease import Lease
from muster.ledger.standing import Ready, lock_batch
from muster.limits import Terms


async def give_back_unheard(tx: Tx, lease: Lease, lane: str, holds: Collection[int]) -> Row:
    """Return what an earlier attempt at this claim was given without its lane's hearing of it; the batch after it."""
    unheard = {"of_batch": lease.batch_id, "lane": lane, "holds": sorted(holds)}
    freed = await tx.value(sql.RESERVED_UNHEARD, unheard)
    await tx.run(sql.RETURN_UNHEARD, unheard)
    await tx.run(sql.RESERVE, {"batch_id": lease.batch_id, "reserves": -int(freed)})
    return await lock_batch(tx, lease)


async def ready_of(tx: Tx, batch: Row) -> Ready:
    """What kinds of ready items there are; suspects are few and indexed, so they are looked for first."""
    here = {"batch_id": batch["id"], "stopped": sorted(batch["stopped"])}
    suspects = await tx.value(sql.SUSPECTS, here)
    others = suspects == 0 or await tx.row(sql.A_READY_ITEM, here) is not None
    return Ready(suspects, others)


async def places_left(tx: Tx, batch: Row, terms: Terms) -> int | None:
    """How many more items may be begun beside those that run in any lane; None where nothing caps them."""
    if terms.at_once is None:
        return None
    return max(0, terms.at_once - int(await tx.value(sql.RUNNING, {"batch_id": batch["id"]})))


async def due_items(
    tx: Tx, which: Executable, batch: Row, wants: Mapping[str, int], now: datetime, terms: Terms, room: int | None
) -> list[Row]:
    """Due items of each upstream, no more than may be claimed now."""
    found: list[Row] = []
    for upstream, n in wants.items():
        most = n if terms.claim is None else min(n, terms.claim)
        if upstream not in batch["stopped"] and most > 0 and room != 0:
            asked = {"batch_id": batch["id"], "upstream": upstream, "now": now, "n": most}
            found += await tx.rows(which, asked)
    return found


def reserve(rows: Sequence[Row], terms: Terms, room: int | None) -> "list[Claimed]":
    """Give each item its part of the allowance, until nothing is left of it."""
    claimed: list[Claimed] = []
    for row in rows:
        share = terms.per_item if room is None else min(terms.per_item, room)
        if room is not None:
            if share <= 0:
                break
            room -= share
        claimed.append(
            Claimed(
                row["id"],
                row["key"],
                row["upstream"],
                row["payload"],
                row["tries"],
                row["starts"] + 1,
                share,
                row["due_at"],
                row["redrives"],
            )
        )
    return claimed


async def start(tx: Tx, claimed: Sequence[Claimed], lease: Lease, lane: str, now: datetime) -> None:
    """Move the items to `running`, a statement for all that reserve the same, and write down what they reserve."""
    for reserves, same in groupby(claimed, key=lambda item: item.reserved):
        ids = [item.id for item in same]
        started = {"ids": ids, "by": lane, "at_epoch": lease.epoch, "reserves": reserves, "now": now}
        await tx.run(sql.START_ITEMS, started)
    reserved = sum(item.reserved for item in claimed)
    await tx.run(sql.RESERVE, {"batch_id": lease.batch_id, "reserves": reserved})
