"""Gemini's `generateContent` with Google Search; its hints stand in the body, and its offsets count bytes."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from muster.simulator.behaviour import Fault, Twist
from muster.simulator.gate import Gate
from muster.simulator.grounded import Made, Span, asked, made, tokens_of
from muster.simulator.rate import RateState
from muster.simulator.wire import Answer, Call, Endpoint, Headers, Refused, Subject, Upstream, Work, json_answer

NAME = "gemini"

_ERRORS: Mapping[Fault, tuple[int, str, str]] = {  # code, status, message
    Fault.DENIED: (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    Fault.OUT_OF_MONEY: (402, "FAILED_PRECONDITION", "Your prepayment credits are depleted."),
    Fault.THROTTLED: (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    Fault.REJECTED: (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    Fault.GONE: (404, "NOT_FOUND", "The model is not found."),
    Fault.BROKEN: (500, "INTERNAL", "An internal error has occurred."),
    Fault.UNAVAILABLE: (503, "UNAVAILABLE", "The service is currently unavailable."),
    Fault.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}
_KNOWN = frozenset(
    {"contents", "tools", "toolConfig", "systemInstruction", "generationConfig", "safetySettings", "cachedContent"}
)
_TYPE = "type.googleapis.com/google.rpc."
_REDIRECT = "https://vertexaisearch.cloud.google.com/grounding-api-redirect/sim"
_serial = count(1)


def upstream(gate: Gate) -> Upstream:
    """The upstream as the gate knows it."""

    async def generate(call: Call) -> Answer:
        return _answer(call, made(gate.options.seed, NAME, call, searches=_searches(call.data)))

    path = "/v1beta/models/{model}:generateContent"
    content = Endpoint(method="POST", path=path, subject=_subject, answer=generate, work=Work.HELD)
    return Upstream(name=NAME, error=_error, headers=_headers, endpoints=(content,), hints_in_body=True)


def _error(refused: Refused) -> Answer:
    code, status, message = _ERRORS[refused.fault]
    details: list[dict[str, Any]] = []
    if refused.fault is Fault.DENIED:
        details = [{"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    if refused.wait is not None:
        details = [{"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{refused.wait:g}s"}]
    error = {"code": code, "message": refused.message or message, "status": status, "details": details}
    return json_answer({"error": error}, code)


def _headers(_rate: RateState | None) -> Headers:
    return ()


def _subject(call: Call) -> Subject:
    data = call.data
    if unknown := sorted(data.keys() - _KNOWN):
        raise Refused(Fault.REJECTED, f'Invalid JSON payload received. Unknown name "{unknown[0]}".')
    contents = data.get("contents")
    last = contents[-1] if isinstance(contents, list) and contents else None
    parts = last.get("parts") if isinstance(last, dict) else None
    texts = [it.get("text") for it in parts if isinstance(it, dict)] if isinstance(parts, list) else []
    prompt = "\n".join(it for it in texts if isinstance(it, str))
    if not prompt:
        raise Refused(Fault.REJECTED, "GenerateContentRequest.contents: contents is not specified.")
    return asked(prompt)


def _searches(data: Mapping[str, Any]) -> bool:
    tools = data.get("tools") or ()
    return any(isinstance(it, dict) and ("googleSearch" in it or "google_search" in it) for it in tools)


def _answer(call: Call, said: Made) -> Answer:
    usage = {"promptTokenCount": tokens_of(call.text), "totalTokenCount": tokens_of(call.text) + said.tokens}
    told = {"modelVersion": call.params["model"], "responseId": f"sim{next(_serial):012x}"}
    if Twist.REFUSAL in call.twists:
        return json_answer({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage, **told})
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": said.text}]},
        "finishReason": "MAX_TOKENS" if Twist.CUT_OFF in call.twists else "STOP",
        "index": 0,
    }
    if said.sources:
        candidate["groundingMetadata"] = _grounding(said)
    usage |= {"candidatesTokenCount": said.tokens}
    return json_answer({"candidates": [candidate], "usageMetadata": usage, **told})


def _grounding(said: Made) -> dict[str, Any]:
    chunks = [{"web": {"uri": f"{_REDIRECT}/{at}", "title": it.domain}} for at, it in enumerate(said.sources)]
    return {
        "webSearchQueries": [said.query],
        "groundingChunks": chunks,
        "groundingSupports": [_support(said.text, it) for it in said.spans],
        "searchEntryPoint": {"renderedContent": "<div>Google Search</div>"},
    }


def _support(text: str, span: Span) -> dict[str, Any]:
    """Indexes count bytes of UTF-8; a start of 0 is left out."""
    start, end = len(text[: span.start].encode()), len(text[: span.end].encode())
    segment = {"endIndex": end, "text": text[span.start : span.end]} | ({"startIndex": start} if start else {})
    return {"segment": segment, "groundingChunkIndices": [span.source]}
