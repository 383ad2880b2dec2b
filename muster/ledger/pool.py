"""The tables of endpoint pairs, a proxy with its session; columns are fixed, since operators query them."""

from datetime import datetime
from typing import Final

from sqlalchemy import CheckConstraint, String, Text, UniqueConstraint
from sqlmodel import Field

from muster.ledger.columns import Base, Id, Json, Utc, state_known, table_of
from muster.states import ProxyState, SessionState


class Proxy(Base, table=True):
    """A proxy: how it is reached, how it fared, and who uses it at the moment; a pair has its proxy's number."""

    __table_args__ = (
        state_known(ProxyState),
        UniqueConstraint("address"),
        CheckConstraint("(holder IS NOT NULL) = (leased_until IS NOT NULL)", name="held_iff_leased"),
        CheckConstraint(
            "errors >= 0 AND limited >= 0 AND requests >= 0 AND failures >= 0 AND uses_in_hour >= 0",
            name="counts_not_negative",
        ),
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    address: str  # host:port
    scheme: str = "http"
    username: str | None = Field(default=None, repr=False)
    password: str | None = Field(default=None, repr=False)
    state: ProxyState = Field(default=ProxyState.ACTIVE, sa_type=String)
    errors: int = 0  # in a row
    limited: int = 0  # rate limits in a row
    requests: int = 0
    failures: int = 0
    latency_ms: float | None = None  # a moving average of calls that were answered
    last_error: str | None = Field(default=None, sa_type=Text)
    last_ok_at: datetime | None = Field(default=None, sa_type=Utc)
    verified_at: datetime | None = Field(default=None, sa_type=Utc)  # it answered
    cooldown_until: datetime | None = Field(default=None, sa_type=Utc)
    recheck_at: datetime | None = Field(default=None, sa_type=Utc)  # of a disabled one
    holder: str | None = None  # the lane that uses it
    item_id: int | None = Field(default=None, sa_type=Id)
    leased_until: datetime | None = Field(default=None, sa_type=Utc)
    last_used_at: datetime | None = Field(default=None, sa_type=Utc)
    hour_at: datetime | None = Field(default=None, sa_type=Utc)  # when the hour began in which uses are counted
    uses_in_hour: int = 0


class Session(Base, table=True):
    """A proxy's session at the site."""

    __table_args__ = (state_known(SessionState), UniqueConstraint("proxy_id"))
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    proxy_id: int = Field(foreign_key="proxy.id", sa_type=Id)
    cookies: dict[str, str] = Field(default_factory=dict, sa_type=Json, repr=False)
    headers: dict[str, str] = Field(default_factory=dict, sa_type=Json, repr=False)
    state: SessionState = Field(default=SessionState.ACTIVE, sa_type=String)
    reason: str | None = Field(default=None, sa_type=Text)  # why it is disabled


PROXY: Final = table_of(Proxy)
SESSION: Final = table_of(Session)
