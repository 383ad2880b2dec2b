"""OpenAI's Responses with web search; the endpoint belongs to the upstream of the chat completions."""

import time
from collections.abc import Mapping
from itertools import count
from typing import Any

from muster.simulator.behaviour import Fault, Twist
from muster.simulator.gate import Gate
from muster.simulator.grounded import REFUSAL, Made, asked, made, tokens_of
from muster.simulator.wire import Answer, Call, Endpoint, Refused, Subject, Work, json_answer

_PROVIDER = "openai"
_SEARCH = "web_search"
_serial = count(1)


def endpoint(gate: Gate) -> Endpoint:
    """The one route."""

    async def respond(call: Call) -> Answer:
        return _answer(call, made(gate.options.seed, _PROVIDER, call, searches=_searches(call.data)))

    return Endpoint(method="POST", path="/v1/responses", subject=_subject, answer=respond, work=Work.HELD)


def _subject(call: Call) -> Subject:
    data = call.data
    if not isinstance(data.get("model"), str) or not data["model"]:
        raise Refused(Fault.REJECTED, "Missing required parameter: 'model'.")
    given = data.get("input")
    if isinstance(given, list):
        given = next((it.get("content") for it in reversed(given) if isinstance(it, dict)), None)
    if not isinstance(given, str) or not given:
        raise Refused(Fault.REJECTED, "Missing required parameter: 'input'.")
    if "temperature" in data:
        raise Refused(Fault.REJECTED, "Unsupported parameter: 'temperature' is not supported with this model.")
    return asked(given)


def _searches(data: Mapping[str, Any]) -> bool:
    tools = data.get("tools")
    return isinstance(tools, list) and any(isinstance(it, dict) and it.get("type") == _SEARCH for it in tools)


def _answer(call: Call, said: Made) -> Answer:
    is_refused, is_cut = Twist.REFUSAL in call.twists, Twist.CUT_OFF in call.twists
    read, written = tokens_of(call.text), said.tokens
    return json_answer(
        {
            "id": f"resp_sim{next(_serial):012x}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "incomplete" if is_cut else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "model": call.data["model"],
            "output": [{"type": "reasoning", "summary": []}, *_search(call, said), _message(said, is_refused)],
            "usage": {
                "input_tokens": read,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": written,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": read + written,
            },
        }
    )


def _search(call: Call, said: Made) -> list[dict[str, Any]]:
    if not said.sources:
        return []
    action: dict[str, Any] = {"type": "search", "query": said.query, "queries": [said.query]}
    if "web_search_call.action.sources" in (call.data.get("include") or ()):
        action["sources"] = [{"type": "url", "url": it.url} for it in said.sources]
    return [{"type": "web_search_call", "id": f"ws_sim{next(_serial):x}", "status": "completed", "action": action}]


def _message(said: Made, is_refused: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"type": "refusal", "refusal": REFUSAL}
    if not is_refused:
        cited = [_citation(said, it.start, it.end, it.source) for it in said.spans]
        content = {"type": "output_text", "text": said.text, "annotations": cited}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [content]}


def _citation(said: Made, start: int, end: int, source: int) -> dict[str, Any]:
    page = said.sources[source]
    where = {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url": f"{page.url}?utm_source=openai", "title": page.title, **where}
