"""The batch log: what every transaction on a batch writes down beside what it changes."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from muster.ledger.database import Tx
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
