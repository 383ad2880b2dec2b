"""Perplexity's agent: an answer with numbered search results, and what it cost."""

import time
from collections.abc import Mapping
from itertools import count
from typing import Any

from muster.simulator.behaviour import Fault, Twist
from muster.simulator.gate import Gate
from muster.simulator.grounded import REFUSAL, Made, asked, made, tokens_of
from muster.simulator.rate import RateState
from muster.simulator.wire import Answer, Call, Endpoint, Headers, Refused, Subject, Upstream, Work, json_answer

NAME = "perplexity"

_ERRORS: Mapping[Fault, tuple[int, str, str]] = {  # status, type, message
    Fault.DENIED: (401, "authentication_error", "Invalid API key provided."),
    Fault.OUT_OF_MONEY: (402, "insufficient_credits", "Your account has run out of credits."),
    Fault.THROTTLED: (429, "rate_limit_error", "Request rate limit exceeded, please try again later."),
    Fault.REJECTED: (400, "invalid_request", "The request was rejected."),
    Fault.GONE: (404, "not_found", "The model does not exist."),
    Fault.BROKEN: (500, "internal_error", "Internal server error."),
    Fault.UNAVAILABLE: (503, "unavailable", "Service unavailable."),
    Fault.OVERLOADED: (529, "overloaded", "The service is overloaded."),
}
_KNOWN = frozenset(
    {"input", "preset", "model", "models", "instructions", "tools", "max_output_tokens", "max_steps", "response_format"}
    | {"reasoning", "background", "store", "language_preference"}
)
_USD_A_TOKEN = 1e-6
_USD_A_SEARCH = 0.005
_serial = count(1)


def upstream(gate: Gate) -> Upstream:
    """The upstream as the gate knows it."""

    async def respond(call: Call) -> Answer:
        return _answer(call, made(gate.options.seed, NAME, call, searches=_searches(call.data)))

    agent = Endpoint(method="POST", path="/v1/agent", subject=_subject, answer=respond, work=Work.HELD)
    return Upstream(name=NAME, error=_error, headers=_headers, endpoints=(agent,))


def _error(refused: Refused) -> Answer:
    status, kind, message = _ERRORS[refused.fault]
    return json_answer({"error": {"message": refused.message or message, "type": kind, "code": status}}, status)


def _headers(_rate: RateState | None) -> Headers:
    return ()


def _subject(call: Call) -> Subject:
    data = call.data
    if unknown := sorted(data.keys() - _KNOWN):
        raise Refused(Fault.REJECTED, f"Unknown field: {unknown[0]}.")
    if not any(data.get(name) for name in ("preset", "model", "models")):
        raise Refused(Fault.REJECTED, "One of preset, model or models is required.")
    given = data.get("input")
    if isinstance(given, list):
        given = next((it.get("content") for it in reversed(given) if isinstance(it, dict)), None)
    if not isinstance(given, str) or not given:
        raise Refused(Fault.REJECTED, "input is required.")
    return asked(given)


def _searches(data: Mapping[str, Any]) -> bool:
    """A preset brings its search with it."""
    tools = data.get("tools") or ()
    return bool(data.get("preset")) or any(isinstance(it, dict) and it.get("type") == "web_search" for it in tools)


def _answer(call: Call, said: Made) -> Answer:
    is_cut = Twist.CUT_OFF in call.twists
    return json_answer(
        {
            "id": f"resp_sim{next(_serial):012x}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "incomplete" if is_cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "model": call.data.get("model") or "perplexity/sonar",
            "error": None,
            "output": [*_results(said), _message(call, said)],
            "usage": _usage(call, said),
        }
    )


def _results(said: Made) -> list[dict[str, Any]]:
    if not said.sources:
        return []
    found = [
        {"id": place, "title": it.title, "url": it.url, "snippet": it.title, "source": "web"}
        for place, it in enumerate(said.sources, 1)
    ]
    return [{"type": "search_results", "queries": [said.query], "results": found}]


def _message(call: Call, said: Made) -> dict[str, Any]:
    """Every sentence is followed by the number of its source; there are no annotations."""
    content: dict[str, Any] = {"type": "refusal", "refusal": REFUSAL}
    if Twist.REFUSAL not in call.twists:
        parts = [f"{said.text[it.start : it.end]} [{it.source + 1}]" for it in said.spans]
        content = {"type": "output_text", "text": " ".join(parts) or said.text, "annotations": []}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [content]}


def _usage(call: Call, said: Made) -> dict[str, Any]:
    read, written, searches = tokens_of(call.text), said.tokens, int(bool(said.sources))
    cost = {"input_cost": read * _USD_A_TOKEN, "output_cost": written * _USD_A_TOKEN}
    if searches:
        cost["tool_calls_cost"] = _USD_A_SEARCH
    return {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": read + written,
        "tool_calls_details": {"search_web": {"invocation": searches}} if searches else {},
        "cost": {"currency": "USD", **cost, "total_cost": round(sum(cost.values()), 8)},
    }
