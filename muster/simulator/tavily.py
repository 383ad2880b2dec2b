"""Tavily's search: results that look like pages of the web, and the credits that they cost."""

from collections.abc import Mapping
from random import Random
from typing import Any

from muster.simulator.behaviour import Fault, Twist, number
from muster.simulator.gate import Gate
from muster.simulator.rate import RateState
from muster.simulator.texts import paragraph, sentence
from muster.simulator.wire import Answer, Call, Endpoint, Headers, Refused, Subject, Upstream, Work, json_answer

NAME = "tavily"

_ERRORS: Mapping[Fault, tuple[int, str]] = {  # status, message
    Fault.DENIED: (401, "Unauthorized: missing or invalid API key."),
    Fault.OUT_OF_MONEY: (432, "This request exceeds your plan's set usage limit."),
    Fault.THROTTLED: (429, "Your request has been blocked due to excessive requests."),
    Fault.REJECTED: (400, "Query is invalid."),
    Fault.GONE: (404, "Not Found"),
    Fault.BROKEN: (500, "Internal Server Error"),
    Fault.UNAVAILABLE: (503, "Service Unavailable"),
    Fault.OVERLOADED: (503, "Service Unavailable"),
}
_DOMAINS = ("example.com", "trade-weekly.example", "wiki.example", "guides.example", "daily.example")
_USUAL, _MOST = 5, 20  # results
_LONGEST_QUERY = 400
_CREDITS = {"advanced": 2}  # a search of any other depth costs one


def upstream(gate: Gate) -> Upstream:
    """The upstream as the gate knows it."""

    async def search(call: Call) -> Answer:
        return json_answer(_answer(gate.options.seed, call))

    endpoint = Endpoint(method="POST", path="/search", subject=_subject, answer=search, work=Work.HELD)
    return Upstream(name=NAME, error=_error, headers=_headers, endpoints=(endpoint,))


def _subject(call: Call) -> Subject:
    query, most = call.data.get("query"), call.data.get("max_results", _USUAL)
    if not isinstance(query, str) or not query.strip():
        raise Refused(Fault.REJECTED, "Query is missing.")
    if len(query) > _LONGEST_QUERY:
        raise Refused(Fault.REJECTED, f"Query is too long. Max query length is {_LONGEST_QUERY} characters.")
    if not isinstance(most, int) or not 0 <= most <= _MOST:
        raise Refused(Fault.REJECTED, f"max_results must lie between 0 and {_MOST}.")
    return Subject(query, query)


def _answer(seed: int, call: Call) -> dict[str, Any]:
    rng = Random(number(seed, NAME, call.identity))
    results = [_result(rng, call.identity) for _ in range(_how_many(call))]
    told: dict[str, Any] = {"query": call.identity, "results": results, "images": [], "response_time": 1.2}
    if call.data.get("include_usage"):
        told["usage"] = {"credits": _CREDITS.get(str(call.data.get("search_depth")), 1)}
    return {**told, "request_id": f"{rng.getrandbits(128):032x}"}


def _how_many(call: Call) -> int:
    if Twist.EMPTY in call.twists:
        return 0
    return 1 if Twist.FEW in call.twists else int(call.data.get("max_results", _USUAL))


def _result(rng: Random, query: str) -> dict[str, Any]:
    return {
        "title": f"{sentence(rng)[:60]} ({query})",
        "url": f"https://{rng.choice(_DOMAINS)}/{rng.getrandbits(40):x}",
        "content": paragraph(rng),
        "score": round(rng.random(), 4),
        "raw_content": None,
    }


def _error(refused: Refused) -> Answer:
    status, message = _ERRORS[refused.fault]
    return json_answer({"detail": {"error": refused.message or message}}, status)


def _headers(_rate: RateState | None) -> Headers:
    return ()
