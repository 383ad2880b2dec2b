"""Endpoint pairs: brought in, listed; what opens them goes in and never comes back."""

from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from entrypoints.api.desk import OPERATORS, TOKEN, At
from entrypoints.api.kinds import STRICT
from entrypoints.api.problems import refusals
from muster.pair_imports import MOST_IN_NAME, Headers, PairRow
from muster.states import ProxyState, SessionState

MOST_AT_ONCE: Final = 1_000

router: Final = APIRouter(prefix="/proxies", tags=["proxies"], dependencies=[TOKEN, OPERATORS])


def _header_names(schema: dict[str, Any]) -> None:
    """Describe the headers of a session; pydantic's own description would allow names of any kind."""
    ((name, value),) = schema.pop("patternProperties").items()
    schema |= {"propertyNames": {"pattern": name, "maxLength": MOST_IN_NAME}, "additionalProperties": value}


class NewPair(PairRow):
    """A proxy with its session."""

    model_config = ConfigDict(strict=True, str_strip_whitespace=False)

    headers: Headers = Field(default_factory=dict, max_length=50, repr=False, json_schema_extra=_header_names)


class NewPairs(BaseModel):
    """Pairs to bring in."""

    model_config = STRICT

    proxies: list[NewPair] = Field(min_length=1, max_length=MOST_AT_ONCE)


class Imported(BaseModel):
    """How many were brought in."""

    imported: int


class Proxy(BaseModel):
    """An endpoint pair with its health and its use."""

    id: int
    address: str
    state: ProxyState
    session: SessionState
    errors: int = Field(description="in a row")
    requests: int
    failures: int
    latency_ms: float | None = Field(description="a moving average, in milliseconds")
    uses_in_hour: int
    last_error: str | None
    reason: str | None = Field(description="why the session is disabled")
    last_ok_at: datetime | None
    last_used_at: datetime | None
    cooldown_until: datetime | None
    recheck_at: datetime | None = Field(description="when a disabled proxy is looked at again")
    leased_until: datetime | None = Field(description="until when somebody uses it at most")


class ProxyList(BaseModel):
    """All endpoint pairs."""

    proxies: list[Proxy]


@router.get("", responses=refusals(404))
async def page(desk: At) -> ProxyList:
    """List every endpoint pair with its health and its use."""
    rows = await desk.book.pairs.all()
    return ProxyList(proxies=[Proxy.model_validate({name: row[name] for name in Proxy.model_fields}) for row in rows])


@router.post("", status_code=201, responses=refusals(404, 413, 422))
async def bring_in(asked: NewPairs, desk: At) -> Imported:
    """Bring pairs in, or give those that are there new credentials and another chance; all of them or none."""
    return Imported(imported=await desk.book.pairs.put([it.pair(it.headers) for it in asked.proxies]))
