"""What the answers look like."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, Field

from muster.ledger.journal import Level
from muster.limits import Mode
from muster.report import batch_line, percent
from muster.states import BatchState, ItemState, RunState

Row = Mapping[str, Any]
Next = int | None


class Batch(BaseModel):
    """A batch with its statistics."""

    id: int
    run: str = Field(description="the key of its run")
    client: str
    workload: str
    state: BatchState
    held: bool = Field(description="queued, and nobody begins it until it is started")
    priority: int
    total: int
    succeeded: int
    skipped: int
    failed: int
    cancelled: int
    remaining: int
    percent: float = Field(description="how much of it has its recorded end")
    target: int | None = Field(description="posts or stories that it may gain, where it has a target")
    gained: int
    cost_micros: int = Field(description="micro-dollars")
    reason: str | None = Field(description="why it is in its state, where that needs a reason")
    created_at: datetime
    started_at: datetime | None
    deadline_at: datetime | None
    closed_at: datetime | None


class Cause(BaseModel):
    """How many items ended in a state, and why."""

    state: ItemState
    why: str
    n: int


class WholeBatch(Batch):
    """A batch with why its items did not simply succeed."""

    mode: Mode
    causes: list[Cause]
    troubles: list[str] = Field(description="what is amiss with the upstreams that its open items call")


class BatchPage(BaseModel):
    """Some batches, newest first."""

    batches: list[Batch]
    next: Next = Field(description="the cursor of the next page, where there is one")


class Item(BaseModel):
    """An item with its recorded outcome."""

    seq: int
    key: str
    upstream: str
    state: ItemState
    tries: int
    starts: int
    error_kind: str | None
    error: str | None
    result: dict[str, Any] | None
    cost_micros: int
    due_at: datetime
    started_at: datetime | None
    closed_at: datetime | None


class ItemPage(BaseModel):
    """Some items, in the order in which they were planned."""

    items: list[Item]
    next: Next


class Event(BaseModel):
    """A line of a batch's log."""

    id: int
    at: datetime
    level: Level
    kind: str
    message: str
    data: dict[str, Any]


class EventPage(BaseModel):
    """Some lines of a batch's log, newest first."""

    events: list[Event]
    next: Next


class Run(BaseModel):
    """One firing."""

    id: int
    key: str
    trigger: str
    forced: bool
    started_by: str | None
    mode: Mode
    state: RunState
    started_at: datetime
    planned_at: datetime | None = Field(description="when all its batches were open")
    finished_at: datetime | None
    error: str | None
    result: dict[str, Any] | None = Field(description="its certificate in short")


class RunPage(BaseModel):
    """Some runs, newest first."""

    runs: list[Run]
    next: Next


class Decided(BaseModel):
    """What a run decided on a client."""

    id: str
    included: bool
    reason: str | None


class WholeRun(Run):
    """A run with every client considered and every batch."""

    clients: list[Decided]
    batches: list[Batch]


class ClientEnds(BaseModel):
    """How a run ended for one client."""

    client: str
    included: bool
    reason: str | None
    expected: int
    succeeded: int
    skipped: int
    failed: int
    cancelled: int
    open: int
    causes: list[dict[str, Any]]


class Certificate(BaseModel):
    """How a run ended, held against what was expected."""

    run: str
    mode: Mode
    manifest_hash: str | None
    complete: bool
    expected: int
    succeeded: int
    skipped: int
    failed: int
    cancelled: int
    open: int
    clients: list[ClientEnds]


_BATCH: Final = ("held", "priority", "target", "cost_micros", "created_at", "started_at", "deadline_at", "closed_at")


def batch_of(row: Row) -> Batch:
    """A batch from its row."""
    more = {name: row[name] for name in _BATCH}
    return Batch(**batch_line(row), **more, run=row["run_key"], percent=percent(row))


def item_of(row: Row) -> Item:
    """An item from its row."""
    return Item.model_validate({name: row[name] for name in Item.model_fields})


def event_of(row: Row) -> Event:
    """A line of the log from its row."""
    return Event.model_validate({name: row[name] for name in Event.model_fields})


def run_of(row: Row) -> Run:
    """A run from its row."""
    return Run.model_validate({name: row[name] for name in Run.model_fields})
