"""Apify's runs, datasets and inputs, with an actor that harvests made-up LinkedIn posts."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from muster.simulator.behaviour import Fault, Twist
from muster.simulator.gate import Gate
from muster.simulator.posts import Row, first_post, rows_of
from muster.simulator.rate import RateState
from muster.simulator.runs import PRICE_OF_A_POST, Plan, Run, Runs
from muster.simulator.wire import (
    Answer,
    Call,
    Endpoint,
    Headers,
    Refused,
    Subject,
    Upstream,
    Work,
    by_path,
    json_answer,
)

NAME = "apify"

_ERRORS: Mapping[Fault, tuple[int, str, str]] = {  # status, type, message
    Fault.DENIED: (401, "user-or-token-not-found", "User was not found or authentication token is not valid"),
    Fault.OUT_OF_MONEY: (402, "insufficient-balance", "Your balance does not cover this run"),
    Fault.THROTTLED: (429, "rate-limit-exceeded", "You have exceeded the rate limit"),
    Fault.REJECTED: (400, "invalid-input", "Input is not valid"),
    Fault.GONE: (404, "record-not-found", "The requested resource was not found"),
    Fault.BROKEN: (500, "internal-server-error", "Unexpected error"),
    Fault.UNAVAILABLE: (503, "service-unavailable", "The service is temporarily unavailable"),
    Fault.OVERLOADED: (503, "service-overloaded", "The service is overloaded"),
}
_LONGEST_WAIT = 60
_MOST_RUNS = 1000  # in one page of a list
_MOST_ITEMS = 250_000


def upstream(gate: Gate) -> Upstream:
    """The upstream as the gate knows it."""
    desk = _Desk(gate)
    looks = {
        "/v2/actors/{actor}/runs": desk.list_runs,
        "/v2/actor-runs/{run}": desk.show,
        "/v2/datasets/{dataset}/items": desk.items,
        "/v2/key-value-stores/{store}/records/INPUT": desk.input,
    }
    start = Endpoint(
        method="POST", path="/v2/actors/{actor}/runs", subject=_subject, answer=desk.start, work=Work.BACKGROUND
    )
    abort = Endpoint(method="POST", path="/v2/actor-runs/{run}/abort", subject=by_path, answer=desk.abort)
    others = [Endpoint(method="GET", path=path, subject=by_path, answer=answer) for path, answer in looks.items()]
    return Upstream(name=NAME, error=_error, headers=_headers, endpoints=(start, abort, *others))


def _error(refused: Refused) -> Answer:
    status, kind, message = _ERRORS[refused.fault]
    return json_answer({"error": {"type": kind, "message": refused.message or message}}, status)


def _headers(rate: RateState | None) -> Headers:
    return () if rate is None else ((b"x-ratelimit-limit", b"%d" % rate.limit),)


def _subject(call: Call) -> Subject:
    """Check the input; the run's identity is its first target."""
    targets = call.data.get("targetUrls")
    if not isinstance(targets, list) or not targets:
        raise Refused(Fault.REJECTED, "Input is not valid: Field input.targetUrls must be a list of at least one URL.")
    for target in targets:
        if not isinstance(target, str) or not _is_web_address(target):
            raise Refused(Fault.REJECTED, f"Input is not valid: {target!r} in input.targetUrls is no http(s) URL.")
    most = call.data.get("maxPosts", 0)
    if not isinstance(most, int) or most < 0:
        raise Refused(Fault.REJECTED, "Input is not valid: Field input.maxPosts must be an integer >= 0.")
    _run_options(call)
    return Subject(targets[0], targets[0])


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def _run_options(call: Call) -> dict[str, float]:
    """The caps that the query sets, and how long to hold the answer."""
    given = {name: call.quantity(name, 0) for name in ("timeout", "maxItems", "maxTotalChargeUsd")}
    call.quantity("waitForFinish", 0, _LONGEST_WAIT)
    return given


def _all_rows(seed: int, body: Mapping[str, Any], options: Mapping[str, float]) -> list[Row]:
    """The rows of every target, within the caps; zero caps nothing."""
    caps = [int(options["maxItems"]), int(options["maxTotalChargeUsd"] / PRICE_OF_A_POST + 1e-9)]
    set_caps = [cap for cap, name in zip(caps, ("maxItems", "maxTotalChargeUsd"), strict=True) if options[name]]
    room = min(set_caps) if set_caps else None
    rows: list[Row] = []
    for target in body["targetUrls"]:
        left = None if room is None else max(0, room - len(rows))
        rows += rows_of(seed, target, body.get("maxPosts") or None, left)
    return rows


def _plan(seed: int, call: Call, options: Mapping[str, float]) -> Plan:
    if Twist.FAILED_RUN in call.twists:
        return Plan(status="FAILED", rows=(), seconds=call.latency)
    if Twist.TIMED_OUT in call.twists:
        return Plan(status="TIMED-OUT", rows=[first_post(seed, call.identity)], seconds=call.latency)
    rows = _all_rows(seed, call.data, options)
    if 0 < options["timeout"] < call.latency:
        return Plan(status="TIMED-OUT", rows=rows[:1], seconds=options["timeout"])
    return Plan(status="SUCCEEDED", rows=rows, seconds=call.latency)


class _Desk:
    """Answers the calls about runs."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._runs = Runs(gate.options.seed)

    async def start(self, call: Call) -> Answer:
        options = _run_options(call)
        plan = _plan(self._gate.options.seed, call, options)
        run = self._runs.start(call.params["actor"], call.identity, options, call.data, plan)
        self._gate.calls.enter(NAME)
        asyncio.get_running_loop().call_later(plan.seconds, self._end, run, plan.status)
        return await self._shown(call, run, 201)

    async def show(self, call: Call) -> Answer:
        return await self._shown(call, self._found(call.params["run"]))

    async def abort(self, call: Call) -> Answer:
        run = self._found(call.params["run"])
        self._end(run, "ABORTED")
        return await self._shown(call, run)

    async def items(self, call: Call) -> Answer:
        run = self._found(call.params["dataset"].removeprefix("ds"))
        offset, limit = int(call.quantity("offset", 0)), int(call.quantity("limit", 0)) or _MOST_ITEMS
        page = run.rows[offset : offset + limit]
        told = {"offset": offset, "limit": limit, "count": len(page), "total": len(run.rows)}
        headers = tuple((f"x-apify-pagination-{name}".encode(), b"%d" % value) for name, value in told.items())
        return json_answer(page, headers=headers)

    async def input(self, call: Call) -> Answer:
        return json_answer(self._found(call.params["store"].removeprefix("kv")).input)

    async def list_runs(self, call: Call) -> Answer:
        runs = self._runs.of_actor(call.params["actor"])
        if since := call.query.get("startedAfter"):
            moment = _moment(since)
            runs = [run for run in runs if run.started_at >= moment]
        desc = call.query.get("desc", "").lower() in {"1", "true"}
        offset, limit = int(call.quantity("offset", 0)), int(call.quantity("limit", 0)) or _MOST_RUNS
        items = [run.brief() for run in (runs[::-1] if desc else runs)[offset : offset + limit]]
        told = {"total": len(runs), "offset": offset, "limit": limit, "desc": desc, "count": len(items)}
        return json_answer({"data": {**told, "items": items}})

    async def _shown(self, call: Call, run: Run, status: int = 200) -> Answer:
        await run.wait(call.quantity("waitForFinish", 0, _LONGEST_WAIT))
        return json_answer({"data": run.full()}, status)

    def _found(self, run_id: str) -> Run:
        if run := self._runs.get(run_id):
            return run
        raise Refused(Fault.GONE)

    def _end(self, run: Run, status: str) -> None:
        """End the run, unless it has ended already."""
        if not run.ended.is_set():
            run.end(status, run.plan.rows if status == run.plan.status else ())
            self._gate.calls.leave(NAME)


def _moment(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(Fault.REJECTED, "Query parameter startedAfter must be an ISO 8601 time.") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
