"""Anthropic's Messages with web search: an answer of many short blocks, some of which cite."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from muster.simulator.behaviour import Fault, Twist
from muster.simulator.gate import Gate
from muster.simulator.grounded import Made, Span, asked, made, tokens_of
from muster.simulator.rate import RateState
from muster.simulator.wire import Answer, Call, Endpoint, Headers, Refused, Subject, Upstream, Work, json_answer

NAME = "anthropic"

_ERRORS: Mapping[Fault, tuple[int, str, str]] = {  # status, type, message
    Fault.DENIED: (401, "authentication_error", "invalid x-api-key"),
    Fault.OUT_OF_MONEY: (402, "billing_error", "Your credit balance is too low to access the API."),
    Fault.THROTTLED: (429, "rate_limit_error", "Number of requests has exceeded your rate limit."),
    Fault.REJECTED: (400, "invalid_request_error", "The request was rejected."),
    Fault.GONE: (404, "not_found_error", "model not found"),
    Fault.BROKEN: (500, "api_error", "Internal server error"),
    Fault.UNAVAILABLE: (503, "api_error", "Service unavailable"),
    Fault.OVERLOADED: (529, "overloaded_error", "Overloaded"),
}
_KNOWN = frozenset(
    {"model", "max_tokens", "messages", "system", "tools", "tool_choice", "stop_sequences", "metadata", "stream"}
    | {"thinking", "output_config", "service_tier"}
)
_serial = count(1)


def upstream(gate: Gate) -> Upstream:
    """The upstream as the gate knows it."""

    async def answer(call: Call) -> Answer:
        return _answer(call, made(gate.options.seed, NAME, call, searches=_searches(call.data)))

    messages = Endpoint(method="POST", path="/v1/messages", subject=_subject, answer=answer, work=Work.HELD)
    return Upstream(name=NAME, error=_error, headers=_headers, endpoints=(messages,))


def _error(refused: Refused) -> Answer:
    status, kind, message = _ERRORS[refused.fault]
    error = {"type": kind, "message": refused.message or message}
    return json_answer({"type": "error", "error": error, "request_id": f"req_sim{next(_serial):x}"}, status)


def _headers(rate: RateState | None) -> Headers:
    told = ((b"request-id", b"req_sim%012x" % next(_serial)),)
    if rate is None:
        return told
    reset = (datetime.now(UTC) + timedelta(seconds=rate.reset)).isoformat(timespec="seconds").replace("+00:00", "Z")
    parts = {"limit": str(rate.limit), "remaining": str(rate.remaining), "reset": reset}
    return (*told, *((f"anthropic-ratelimit-requests-{it}".encode(), said.encode()) for it, said in parts.items()))


def _subject(call: Call) -> Subject:
    data = call.data
    if not call.headers.get(b"anthropic-version"):
        raise Refused(Fault.REJECTED, "anthropic-version: header is required")
    if unknown := sorted(data.keys() - _KNOWN):
        raise Refused(Fault.REJECTED, f"{unknown[0]}: Extra inputs are not permitted")
    if not data.get("model") or not isinstance(data.get("max_tokens"), int):
        raise Refused(Fault.REJECTED, "model and max_tokens: Field required")
    messages = data.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    prompt = first.get("content") if isinstance(first, dict) else None
    if not isinstance(prompt, str) or not prompt:
        raise Refused(Fault.REJECTED, "messages: at least one message is required")
    return asked(prompt)


def _searches(data: Mapping[str, Any]) -> bool:
    """A tool of that name has a date in its type; a bare one is refused."""
    types = [str(it.get("type")) for it in data.get("tools") or () if isinstance(it, dict)]
    if "web_search" in types:
        raise Refused(Fault.REJECTED, "tools.0: Input tag 'web_search' does not match any of the expected tags")
    return any(it.startswith("web_search_") for it in types)


def _answer(call: Call, said: Made) -> Answer:
    is_paused = Twist.PAUSED in call.twists and len(call.data["messages"]) == 1
    stop, content = _content(call, said, is_paused)
    usage = {
        "input_tokens": tokens_of(call.text),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": None,
        "output_tokens": said.tokens,
        "server_tool_use": {"web_search_requests": 1} if said.sources else None,
        "service_tier": "standard",
    }
    return json_answer(
        {
            "id": f"msg_sim{next(_serial):012x}",
            "type": "message",
            "role": "assistant",
            "model": call.data["model"],
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }
    )


def _content(call: Call, said: Made, is_paused: bool) -> tuple[str, list[dict[str, Any]]]:
    """The stop reason and the blocks."""
    if Twist.REFUSAL in call.twists:
        return "refusal", []
    if is_paused:
        return "pause_turn", _search(said)
    stop = "max_tokens" if Twist.CUT_OFF in call.twists else "end_turn"
    texts = [_block(said, it) for it in said.spans] or [{"type": "text", "text": said.text, "citations": None}]
    return stop, [*_search(said), *texts]


def _search(said: Made) -> list[dict[str, Any]]:
    if not said.sources:
        return [{"type": "text", "text": "", "citations": None}]
    used = {"type": "server_tool_use", "id": "srvtoolu_sim", "name": "web_search", "input": {"query": said.query}}
    found = [
        {"type": "web_search_result", "url": it.url, "title": it.title, "page_age": None, "encrypted_content": "sim"}
        for it in said.sources
    ]
    return [used, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_sim", "content": found}]


def _block(said: Made, span: Span) -> dict[str, Any]:
    """A sentence with its citation; the space before it is its own, so that blocks are joined without any."""
    page, text = said.sources[span.source], said.text[span.start : span.end]
    cited = {"type": "web_search_result_location", "url": page.url, "title": page.title, "cited_text": page.title}
    space = " " if span.start else ""
    return {"type": "text", "text": f"{space}{text}", "citations": [{**cited, "encrypted_index": "sim"}]}
