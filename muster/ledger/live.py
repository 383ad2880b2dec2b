"""The tables of who is at work at the moment and what they may use; columns are fixed, since operators query them."""

from datetime import datetime
from typing import Final

from sqlalchemy import CheckConstraint, Index, String, Text
from sqlmodel import Field

from muster.ledger.columns import Base, Id, Json, Utc, state_known, table_of
from muster.states import BreakerState


class Lane(Base, table=True):
    """A lane that beats; its items are given back when it falls silent."""

    __table_args__ = (Index(None, "batch_id"),)
    id: str = Field(primary_key=True)
    batch_id: int = Field(foreign_key="batch.id", sa_type=Id)
    epoch: int
    host: str
    pid: int
    alone: bool = False  # a process of its own, with one suspect item at a time
    beat_at: datetime = Field(sa_type=Utc)


class Upstream(Base, table=True):
    """An external API: what it allows over all processes, where its send slots stand, and its breaker."""

    __table_args__ = (
        state_known(BreakerState, "breaker"),
        CheckConstraint("concurrency > 0 AND per_minute > 0 AND tokens_per_minute > 0", name="limits_positive"),
    )
    name: str = Field(primary_key=True)
    concurrency: int | None = None  # calls in flight; None: no limit
    per_minute: float | None = None  # calls begun
    tokens_per_minute: float | None = None
    next_at: datetime | None = Field(default=None, sa_type=Utc)  # the next free send slot
    tokens_at: datetime | None = Field(default=None, sa_type=Utc)  # when the tokens for it are there
    tokens_per_call: float = 1000.0  # reserved with a send slot; a moving average of what calls used
    held_until: datetime | None = Field(default=None, sa_type=Utc)  # it asked to wait
    throttled_at: datetime | None = Field(default=None, sa_type=Utc)
    ceiling: int | None = None  # calls in flight that it bore when it throttled last; grows from then on
    paced_per_minute: float | None = None  # what its answers say is left
    paced_until: datetime | None = Field(default=None, sa_type=Utc)
    breaker: BreakerState = Field(default=BreakerState.CLOSED, sa_type=String)
    failures: int = 0  # in a row
    openings: int = 0  # of the breaker, in a row
    open_until: datetime | None = Field(default=None, sa_type=Utc)
    probe: str | None = None  # the lane that probes it
    error: str | None = Field(default=None, sa_type=Text)  # of the last failure
    since: datetime | None = Field(default=None, sa_type=Utc)  # of the breaker's state


class Allotment(Base, table=True):
    """How much of an upstream a lane may use until when, and what it may still have in flight.

    It outlives its lane: calls of a lane that was killed may still be running.
    """

    __table_args__ = (Index(None, "upstream"),)
    lane: str = Field(primary_key=True)
    upstream: str = Field(primary_key=True, foreign_key="upstream.name")
    batch_id: int = Field(sa_type=Id)
    client_id: str
    weight: float
    served: int  # items of its batch that are closed
    held: int
    pledged: int = 0  # calls that it may have begun before it hears of its allotment
    allotted: int | None  # None: no limit
    wanted: int
    slots: int  # send slots drawn and not used
    slots_wanted: int
    waiting_since: datetime | None = Field(default=None, sa_type=Utc)
    held_since: datetime | None = Field(default=None, sa_type=Utc)
    slots_since: datetime | None = Field(default=None, sa_type=Utc)  # waits for a send slot, and has none
    beat_at: datetime = Field(sa_type=Utc)
    expires_at: datetime = Field(sa_type=Utc)  # when every call that it may have begun has timed out


class Driver(Base, table=True):
    """A process that pulls clients with queued batches, and which of them it serves at the moment."""

    id: str = Field(primary_key=True)
    host: str
    pid: int
    run_id: int | None = Field(default=None, foreign_key="run.id", sa_type=Id)  # the only run it serves
    clients: list[str] = Field(default_factory=list, sa_type=Json)
    beat_at: datetime = Field(sa_type=Utc)


LANE: Final = table_of(Lane)
DRIVER: Final = table_of(Driver)
UPSTREAM: Final = table_of(Upstream)
ALLOTMENT: Final = table_of(Allotment)
