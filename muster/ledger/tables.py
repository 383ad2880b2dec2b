"""The ledger's tables, and the rules that the database itself keeps; columns are fixed, since operators query them."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text, UniqueConstraint, text
from sqlmodel import Field

from muster.ledger.columns import Base, Id, Json, Utc, one_of, set_iff, state_known, table_of
from muster.states import (
    CLOSED_BATCHES,
    CLOSED_ITEMS,
    OPEN_BATCHES,
    WORKING_BATCHES,
    BatchState,
    ClientState,
    ItemState,
    RunState,
)

PRIORITIES: Final = range(1, 6)
USUAL_PRIORITY: Final = 3
SUSPECT_FROM: Final = 2  # crashes after which an item is worked alone


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index over the rows of which `where` is true, on either database."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class Client(Base, table=True):
    """A tenant whose work is done."""

    __table_args__ = (
        state_known(ClientState),
        CheckConstraint("weight > 0", name="weight_positive"),
        CheckConstraint("batch_size > 0 AND max_batches >= 0", name="batch_sizes"),
    )
    id: str = Field(primary_key=True)
    name: str
    state: ClientState = Field(default=ClientState.ACTIVE, sa_type=String)
    service_level: int = 1
    weight: float = 1.0
    batch_size: int = 20
    max_batches: int = 10
    posts_target: int | None = None
    max_posts_per_profile: int = 2
    profiles_limit: int = 100
    brand: list[str] = Field(default_factory=list, sa_type=Json)  # its names, the usual one first
    competitors: list[list[str]] = Field(default_factory=list, sa_type=Json)  # of each the same


class Run(Base, table=True):
    """One firing, scheduled or by hand, over some clients and workloads."""

    __table_args__ = (
        state_known(RunState),
        UniqueConstraint("key"),
        set_iff("finished_at", {RunState.DONE, RunState.FAILED}),
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    key: str
    trigger: str
    forced: bool = False
    started_by: str | None = None  # who asked for it, where somebody did
    mode: str
    state: RunState = Field(default=RunState.RUNNING, sa_type=String)
    request: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    started_at: datetime = Field(sa_type=Utc)
    planned_at: datetime | None = Field(default=None, sa_type=Utc)  # all its batches are open
    finished_at: datetime | None = Field(default=None, sa_type=Utc)
    error: str | None = Field(default=None, sa_type=Text)
    manifest: dict[str, Any] | None = Field(default=None, sa_type=Json)  # what was expected, frozen once it was planned
    manifest_hash: str | None = None
    certificate: dict[str, Any] | None = Field(default=None, sa_type=Json)  # how all of it ended
    result: dict[str, Any] | None = Field(default=None, sa_type=Json)  # in short


class RunClient(Base, table=True):
    """What a run decided on one client, and why."""

    __tablename__ = "run_client"
    run_id: int = Field(foreign_key="run.id", primary_key=True, sa_type=Id)
    client_id: str = Field(foreign_key="client.id", primary_key=True)
    included: bool
    workloads: list[str] = Field(default_factory=list, sa_type=Json)
    reason: str | None = Field(default=None, sa_type=Text)


class Batch(Base, table=True):
    """One client's work of one workload in one run."""

    __table_args__ = (
        state_known(BatchState),
        UniqueConstraint("key"),
        set_iff("closed_at", CLOSED_BATCHES),
        CheckConstraint(
            "succeeded >= 0 AND skipped >= 0 AND failed >= 0 AND cancelled >= 0"
            " AND succeeded + skipped + failed + cancelled <= total",
            name="counts_within_total",
        ),
        CheckConstraint("gained >= 0 AND reserved >= 0", name="allowance_not_negative"),
        CheckConstraint("target IS NULL OR gained + reserved <= target", name="target_never_passed"),
        CheckConstraint(
            "state <> 'done' OR succeeded + skipped + failed + cancelled = total", name="done_is_all_closed"
        ),
        _partial("uq_batch_working", "client_id", "workload", where=one_of("state", WORKING_BATCHES), unique=True),
        _partial("ix_batch_open", "client_id", where=one_of("state", OPEN_BATCHES)),
        Index(None, "run_id"),
        Index(None, "created_at"),
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    run_id: int = Field(foreign_key="run.id", sa_type=Id)
    client_id: str = Field(foreign_key="client.id")
    workload: str
    key: str
    state: BatchState = Field(default=BatchState.QUEUED, sa_type=String)
    held: bool = False  # queued, and nobody takes it until a person starts it
    mode: str
    priority: int = USUAL_PRIORITY  # 1 is begun first, 5 last; an hour of waiting counts as one level
    limits: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    request: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    upstreams: list[str] = Field(default_factory=list, sa_type=Json)  # that its items call
    stopped: dict[str, str] = Field(default_factory=dict, sa_type=Json)  # upstream → why it is called no more
    manifest_hash: str | None = None  # of its items as they were planned
    total: int = 0
    succeeded: int = 0
    skipped: int = 0
    failed: int = 0
    cancelled: int = 0
    target: int | None = None
    gained: int = 0
    reserved: int = 0
    cost_micros: int = Field(default=0, sa_type=BigInteger)
    epoch: int = 0
    driver: str | None = None
    driver_runs: int = 0
    fruitless: int = 0  # drivers in a row that ended before an item was closed
    beat_at: datetime | None = Field(default=None, sa_type=Utc)
    deadline_at: datetime | None = Field(default=None, sa_type=Utc)
    reason: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=Utc)
    started_at: datetime | None = Field(default=None, sa_type=Utc)
    closed_at: datetime | None = Field(default=None, sa_type=Utc)


class Item(Base, table=True):
    """One unit of a batch, with one recorded outcome."""

    __table_args__ = (
        state_known(ItemState),
        UniqueConstraint("batch_id", "key"),
        set_iff("closed_at", CLOSED_ITEMS),
        CheckConstraint(f"(lane IS NOT NULL) = (state = '{ItemState.RUNNING}')", name="lane_iff_running"),
        CheckConstraint("tries >= 0 AND starts >= 0 AND reserved >= 0", name="counts_not_negative"),
        Index("ix_item_ready", "batch_id", "upstream", "state", "due_at", "seq"),
        _partial("ix_item_running", "batch_id", "lane", where=f"state = '{ItemState.RUNNING}'"),
        _partial("ix_item_suspect", "batch_id", where=f"crashes >= {SUSPECT_FROM}"),
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    batch_id: int = Field(foreign_key="batch.id", sa_type=Id)
    seq: int
    key: str
    upstream: str
    payload: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    state: ItemState = Field(default=ItemState.PENDING, sa_type=String)
    tries: int = 0
    starts: int = 0
    redrives: int = 0
    crashes: int = 0  # how often it was in flight when its lane or driver fell silent
    due_at: datetime = Field(sa_type=Utc)
    epoch: int = 0
    lane: str | None = None
    reserved: int = 0
    started_at: datetime | None = Field(default=None, sa_type=Utc)
    closed_at: datetime | None = Field(default=None, sa_type=Utc)
    error_kind: str | None = None
    error: str | None = Field(default=None, sa_type=Text)
    result: dict[str, Any] | None = Field(default=None, sa_type=Json)
    cost_micros: int = Field(default=0, sa_type=BigInteger)


class Attempt(Base, table=True):
    """One try that did not succeed."""

    __table_args__ = (Index(None, "item_id"),)
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    item_id: int = Field(foreign_key="item.id", sa_type=Id)
    number: int  # the item's start, counted from 1
    error_kind: str
    error: str = Field(sa_type=Text)
    status_code: int | None = None
    ms: int
    resource: str | None = None
    at: datetime = Field(sa_type=Utc)


class Step(Base, table=True):
    """The memory of a paid sub-call."""

    item_id: int = Field(foreign_key="item.id", primary_key=True, sa_type=Id)
    name: str = Field(primary_key=True)
    result: Any = Field(default=None, sa_type=Json)
    at: datetime = Field(sa_type=Utc)


class Event(Base, table=True):
    """One line of the batch log."""

    __table_args__ = (Index(None, "batch_id", "id"),)
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    batch_id: int = Field(foreign_key="batch.id", sa_type=Id)
    item_id: int | None = Field(default=None, sa_type=Id)
    at: datetime = Field(sa_type=Utc)
    level: str
    kind: str
    message: str = Field(sa_type=Text)
    data: dict[str, Any] = Field(default_factory=dict, sa_type=Json)


class Setting(Base, table=True):
    """A key and its value, kept in the ledger."""

    key: str = Field(primary_key=True)
    value: str = Field(sa_type=Text)


class Token(Base, table=True):
    """Who may ask the HTTP API; the token itself is nowhere kept."""

    __table_args__ = (UniqueConstraint("hash"),)
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    name: str
    client_id: str | None = Field(default=None, foreign_key="client.id")  # None: all clients
    hash: str
    created_at: datetime = Field(sa_type=Utc)
    revoked_at: datetime | None = Field(default=None, sa_type=Utc)
    last_used_at: datetime | None = Field(default=None, sa_type=Utc)


CLIENT: Final = table_of(Client)
RUN: Final = table_of(Run)
RUN_CLIENT: Final = table_of(RunClient)
BATCH: Final = table_of(Batch)
ITEM: Final = table_of(Item)
ATTEMPT: Final = table_of(Attempt)
STEP: Final = table_of(Step)
EVENT: Final = table_of(Event)
SETTING: Final = table_of(Setting)
TOKEN: Final = table_of(Token)
