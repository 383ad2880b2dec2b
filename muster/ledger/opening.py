"""What a batch is opened with, and the rows that makes, in pieces that never are all in memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from muster.landing import NewItem
from muster.ledger.tables import USUAL_PRIORITY, Batch
from muster.limits import Limits, Terms
from muster.states import ItemState

CHUNK: Final = 1000  # items written at one time while a batch is opened
_FRESH: Final = {
    "state": ItemState.PENDING,
    "tries": 0,
    "starts": 0,
    "redrives": 0,
    "crashes": 0,
    "epoch": 0,
    "reserved": 0,
    "cost_micros": 0,
}

Plan = Callable[[], AsyncGenerator[NewItem, None]]


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a batch is opened with; `key` is unique over all batches."""

    run_id: int
    client_id: str
    workload: str
    key: str
    limits: Limits
    terms: Terms
    request: Mapping[str, Any]
    priority: int = USUAL_PRIORITY
    held: bool = False
    frozen: Mapping[str, Any] | None = None  # what the run's manifest says of it, where it was there before


def batch_row(new: NewBatch, now: datetime) -> dict[str, Any]:
    """A fresh batch."""
    return Batch(
        run_id=new.run_id,
        client_id=new.client_id,
        workload=new.workload,
        key=new.key,
        mode=new.limits.mode,
        priority=new.priority,
        held=new.held,
        limits=new.limits.model_dump(mode="json"),
        request=dict(new.request),
        target=new.terms.target,
        created_at=now,
        deadline_at=latest_end(new.limits, now),
    ).model_dump(exclude={"id"})


def item_row(batch_id: int, seq: int, item: NewItem, now: datetime) -> dict[str, Any]:
    """A fresh item, due at once."""
    return {
        **_FRESH,
        "batch_id": batch_id,
        "seq": seq,
        "key": item.key,
        "upstream": item.upstream,
        "payload": dict(item.payload),
        "due_at": now,
    }


async def chunks(items: AsyncGenerator[NewItem, None], most: int | None) -> AsyncIterator[list[NewItem]]:
    """The plan in pieces of `CHUNK`, cut off after `most` items and closed, for it may hold a connection."""
    chunk: list[NewItem] = []
    taken = 0
    async with aclosing(items):
        async for item in items:
            if most is not None and taken >= most:
                break
            taken += 1
            chunk.append(item)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def latest_end(limits: Limits | Mapping[str, Any], now: datetime) -> datetime:
    """When a batch with these limits that is put in line now has to be over, whenever it is begun."""
    return now + timedelta(seconds=Limits.model_validate(limits).deadline_s)


def deadline_of(limits: Mapping[str, Any], now: datetime, latest: datetime | None = None) -> datetime:
    """When a batch with these frozen limits has to be over if it is begun, or begun again, now."""
    frozen = Limits.model_validate(limits)
    ends = now + timedelta(seconds=min(frozen.deadline_s, frozen.duration_s or frozen.deadline_s))
    return ends if latest is None else min(ends, latest)
