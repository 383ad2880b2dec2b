"""The batch log: what every transaction on a batch writes down beside what it changes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from muster.landing import Landing
from muster.ledger.database import Row, Tx
from muster.ledger.tables import EVENT


class Level(StrEnum):
    """How much an event should worry a person."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


async def log(
    tx: Tx,
    batch_id: int,
    at: datetime,
    kind: str,
    message: str,
    *,
    level: Level = Level.INFO,
    item_id: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write one event in the transaction that makes it true."""
    row = {"batch_id": batch_id, "item_id": item_id, "at": at, "level": level, "kind": kind, "message": message}
    await tx.run(tx.insert(EVENT), {**row, "data": dict(data or {})})


async def log_notes(tx: Tx, batch_id: int, moved: Sequence[Landing], now: datetime) -> None:
    """Write down what attempts noted, in their order."""
    rows = [
        {
            "batch_id": batch_id,
            "item_id": it.item.id,
            "at": now,
            "level": Level.WARNING if note.is_warning else Level.INFO,
            "kind": note.kind,
            "message": note.message,
            "data": dict(note.data),
        }
        for it in moved
        for note in it.notes
    ]
    if rows:
        await tx.run(tx.insert(EVENT), rows)


async def log_progress(tx: Tx, batch: Row, remaining: int, now: datetime) -> None:
    """Say so whenever another tenth of the batch, as it was before, is closed."""
    total, before = batch["total"], batch["remaining"]
    tenth = 10 * (total - remaining) // total if total else 0
    if remaining and tenth > 10 * (total - before) // total:
        closed = {"closed": total - remaining, "total": total}
        said = f"{10 * tenth} % of the items are closed: {total - remaining} of {total}."
        await log(tx, batch["id"], now, "batch.progress", said, data={**closed, "percent": 10 * tenth})
