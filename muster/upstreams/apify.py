"""Apify's actors: start a run, wait for its end, read its dataset (`/v2/actors`, `/v2/actor-runs`, `/v2/datasets`)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self, TypeVar
from urllib.parse import quote, urlencode

import orjson
from pydantic import SecretStr

from muster.backoff import delay
from muster.outcomes import ErrorKind, Retry
from muster.settings import Settings, variable
from muster.upstreams.access import address, bearer
from muster.upstreams.answers import Answer, Unanswered, check
from muster.upstreams.caller import Call, Sender
from muster.upstreams.lenient import mapping, micros
from muster.upstreams.words import clean

T = TypeVar("T")

_OVER: Final = frozenset({"SUCCEEDED", "FAILED", "TIMED-OUT", "ABORTED"})
_LONGEST_HOLD_S: Final = 60  # Apify holds an answer no longer
_CALL_S: Final = 30.0  # for a call's answer, beyond the time that it is held
_PAUSE_S: Final = 1.0  # between looks at a run whose answer was not held
_LOOKS: Final = 5  # a run is paid for: a look that fails is worth less than it, so it is tried again
_LONGEST_PAUSE_S: Final = 10.0
_PASSING: Final = frozenset({ErrorKind.TRANSIENT, ErrorKind.PARSE})
_PAGE: Final = 1000
_MOST_ROWS: Final = 10_000
_LEAST_CHARGE_USD: Final = 1.0  # some actors refuse a cap below $0.70
_CHARGE_USD_PER_ITEM: Final = 0.01  # five times what the LinkedIn actor asks


@dataclass(frozen=True, slots=True)
class ActorRun:
    """A run of an actor as last seen; the cost may still rise shortly after the end."""

    id: str
    status: str
    dataset_id: str
    cost_micros: int = 0
    message: str = ""

    @property
    def is_over(self) -> bool:
        """Whether its status will change no more."""
        return self.status in _OVER

    @property
    def succeeded(self) -> bool:
        """Whether it ended as it should; one that did not may have paid rows nevertheless."""
        return self.status == "SUCCEEDED"


@dataclass(frozen=True)
class Apify:
    """The adapter; `pause` sleeps between looks."""

    NAME: ClassVar[str] = "apify"

    caller: Sender
    base_url: str
    token: SecretStr | None
    token_variable: str = field(default_factory=lambda: variable("apify_token"))
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> Self:
        """Build it; no call is made.

        Raises:
            ConfigurationError: the base URL is none.
        """
        base_url = address(settings.apify_base_url, variable("apify_base_url"), "https://api.apify.com")
        return cls(caller, base_url, settings.apify_token)

    async def start(
        self, actor: str, input: Mapping[str, Any], *, max_items: int, run_timeout_s: int = 300  # noqa: A002
    ) -> ActorRun:  # fmt: skip
        """Start a run that charges for at most `max_items` rows and ends itself after `run_timeout_s` seconds.

        Returns at once, so that the id can be kept before the run is waited for.

        Raises:
            ValueError: `max_items` is less than 1, which Apify would take for no limit.
            Unanswered: no run was started, or it is not known whether one was.
        """
        if max_items < 1:
            raise ValueError(f"a run needs a limit of at least 1 item, not {max_items}")
        charge = max(_LEAST_CHARGE_USD, _CHARGE_USD_PER_ITEM * max_items)
        caps = {"timeout": run_timeout_s, "maxItems": max_items, "maxTotalChargeUsd": f"{charge:.2f}"}
        path = f"/v2/actors/{_part(actor.replace('/', '~'))}/runs"
        return _run(await self._send("POST", path, caps, data=input))

    async def wait(self, run: ActorRun, *, deadline_s: float) -> ActorRun:
        """Wait until the run is over; one that is not after `deadline_s` seconds is aborted, or it would go on costing.

        Raises:
            Unanswered: `transient` after the deadline, or what Apify answers to the last of several looks.
        """
        until = time.monotonic() + deadline_s
        while not run.is_over:
            left = until - time.monotonic()
            if left <= 0:
                await self._give_up(run, deadline_s)
            looked_at, hold = time.monotonic(), max(1, min(_LONGEST_HOLD_S, int(left)))
            _, run = await self._get(f"/v2/actor-runs/{_part(run.id)}", {"waitForFinish": hold}, _run, hold=hold)
            if not run.is_over and time.monotonic() - looked_at < _PAUSE_S:
                await self.pause(min(_PAUSE_S, max(0.0, until - time.monotonic())))
        return run

    async def items(self, run: ActorRun, *, limit: int) -> list[dict[str, Any]]:
        """The first rows of the run's dataset, of whatever type, at most `limit` and never more than 10,000.

        Raises:
            Unanswered: what Apify answers to the last of several looks.
        """
        rows: list[dict[str, Any]] = []
        most, offset, has_more = min(limit, _MOST_ROWS), 0, True
        while has_more and offset < most:
            size = min(_PAGE, most - offset)
            page, total = await self._page(run, offset, size)
            rows += [row for row in page if isinstance(row, dict)]
            offset += len(page)
            has_more = bool(page) and (len(page) == size or offset < total)
        return rows

    async def _page(self, run: ActorRun, offset: int, size: int) -> tuple[list[Any], int]:
        """A page, and how many rows there are by Apify's count, which lags behind a run."""
        path, query = f"/v2/datasets/{_part(run.dataset_id)}/items", {"format": "json", "offset": offset, "limit": size}
        answer, page = await self._get(path, query, _rows)
        total = answer.headers.get("x-apify-pagination-total", "")
        return page, int(total) if total.isascii() and total.isdigit() else 0

    async def _get(
        self, path: str, query: Mapping[str, Any], read: Callable[[Answer], T], hold: int = 0
    ) -> tuple[Answer, T]:
        """Read what is there already, patiently."""
        failures = 0
        while True:
            try:
                answer = await self._send("GET", path, query, hold=hold)
                return answer, read(answer)
            except Unanswered as unanswered:
                failures += 1
                outcome = unanswered.outcome
                if failures == _LOOKS or not isinstance(outcome, Retry) or outcome.kind not in _PASSING:
                    raise
                await self.pause(min(delay(failures, outcome.wait), _LONGEST_PAUSE_S))

    async def _send(
        self, method: str, path: str, query: Mapping[str, Any], *, data: Mapping[str, Any] | None = None, hold: int = 0
    ) -> Answer:
        headers = {**bearer(self.token, self.token_variable), "content-type": "application/json"}
        body = None if data is None else orjson.dumps(dict(data))
        call = Call(method, f"{self.base_url}{path}?{urlencode(query)}", headers, body)
        return check(await self.caller.send(call, upstream=self.NAME, timeout=_CALL_S + hold))

    async def _give_up(self, run: ActorRun, after_s: float) -> None:
        path = f"/v2/actor-runs/{_part(run.id)}/abort"
        with suppress(Unanswered):  # it ends by its own time limit at last
            run = _run(await self._send("POST", path, {"gracefully": "true"}))
        error = f"{self.NAME}: actor run {run.id} was not over after {after_s:g} s and was aborted."
        raise Unanswered(Retry(kind=ErrorKind.TRANSIENT, error=error, cost_micros=run.cost_micros))


def _part(text: str) -> str:
    """One segment of a path; an actor's name keeps its `~`."""
    return quote(text, safe="~")


def _rows(answer: Answer) -> list[Any]:
    if isinstance(rows := answer.json(), list):
        return rows
    raise _unreadable(answer, "no list of rows")


def _run(answer: Answer) -> ActorRun:
    """Read a run out of its `data` envelope; only its id must be there."""
    data = mapping(mapping(answer.json()).get("data"))
    if not isinstance(data.get("id"), str):
        raise _unreadable(answer, "no run")
    status, dataset, message = (str(data.get(key) or "") for key in ("status", "defaultDatasetId", "statusMessage"))
    return ActorRun(data["id"], status, dataset, micros(data.get("usageTotalUsd")) or 0, clean(message))


def _unreadable(answer: Answer, what: str) -> Unanswered:
    error = f"{answer.upstream} answered {answer.status} with {what}."
    return Unanswered(Retry(kind=ErrorKind.PARSE, error=error, status_code=answer.status))
