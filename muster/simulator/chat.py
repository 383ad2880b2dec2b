"""An OpenAI-compatible upstream: chat completions and the list of models."""

import re
import time
from collections.abc import Mapping
from itertools import count
from random import Random
from typing import Any

import orjson

from muster.simulator import responses
from muster.simulator.behaviour import Fault, Twist, number
from muster.simulator.filling import fill
from muster.simulator.gate import Gate
from muster.simulator.rate import RateState, go_duration
from muster.simulator.texts import markdown, sentence
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

NAME = "openai"

_ERRORS: Mapping[Fault, tuple[int, str, str | None, str]] = {  # status, type, code, message
    Fault.DENIED: (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    Fault.OUT_OF_MONEY: (429, "insufficient_quota", "credit_balance_exhausted", "Your credit balance is exhausted."),
    Fault.THROTTLED: (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests per minute."),
    Fault.REJECTED: (400, "invalid_request_error", None, "The request was rejected."),
    Fault.GONE: (404, "invalid_request_error", "model_not_found", "The model does not exist."),
    Fault.BROKEN: (500, "server_error", None, "The server had an error while processing your request."),
    Fault.UNAVAILABLE: (503, "server_error", None, "The engine is currently overloaded, please try again later."),
    Fault.OVERLOADED: (503, "server_error", "slow_down", "Slow down: your traffic rises too fast."),
}
_MODELS = {  # name: shutdown_date
    "gpt-6-luna": None,
    "gpt-6.1-terra": None,
    "gpt-6.1-sol": None,
    "gpt-5-mini": "2026-12-11",
}
_MODELS_SINCE = 1_767_225_600
_URL = re.compile(r"https?://[^\s\"'<>()\[\]{}`\\]+")
_LONGEST_IDENTITY = 200
_LETTERS_A_TOKEN = 4
_REFUSAL = "I'm sorry, but I can't help with that."
_NOT_JSON = "Sure! Here is what you asked for: the score is high, {as I see it"
_serial = count(1)


def upstream(gate: Gate) -> Upstream:
    """The upstream as the gate knows it."""
    completer = _Completer(gate.options.seed)
    return Upstream(
        name=NAME,
        error=_error,
        headers=_headers,
        endpoints=(
            Endpoint(
                method="POST",
                path="/v1/chat/completions",
                subject=_subject,
                answer=completer.complete,
                work=Work.HELD,
            ),
            responses.endpoint(gate),
            Endpoint(method="GET", path="/v1/models", subject=by_path, answer=_models),
        ),
    )


def _error(refused: Refused) -> Answer:
    status, kind, code, message = _ERRORS[refused.fault]
    error = {"message": refused.message or message, "type": kind, "param": None, "code": code}
    return json_answer({"error": error}, status)


def _headers(rate: RateState | None) -> Headers:
    request_id = (b"x-request-id", b"req_sim%012x" % next(_serial))
    if rate is None:
        return (request_id,)
    return (
        request_id,
        (b"x-ratelimit-limit-requests", b"%d" % rate.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % rate.remaining),
        (b"x-ratelimit-reset-requests", go_duration(rate.reset).encode()),
    )


async def _models(_call: Call) -> Answer:
    data = [
        {"id": name, "object": "model", "created": _MODELS_SINCE, "owned_by": "simulator", "shutdown_date": end}
        for name, end in _MODELS.items()
    ]
    return json_answer({"object": "list", "data": data})


def _subject(call: Call) -> Subject:
    """Check the request, and take its identity from the last user message."""
    data = call.data
    if not isinstance(data.get("model"), str) or not data["model"]:
        raise Refused(Fault.REJECTED, "You must provide a model parameter.")
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise Refused(Fault.REJECTED, "'messages' must be a list of at least one message.")
    _wanted_schema(data)
    text = next((_text(message) for message in reversed(messages) if message.get("role") == "user"), "").strip()
    if (keyword := _keyword(text)) is not None:
        return Subject(keyword[:_LONGEST_IDENTITY], keyword)
    url = _URL.search(text) if "://" in text else None
    return Subject(url[0].rstrip(".,;:!?*_") if url else text[:_LONGEST_IDENTITY], text)


def _keyword(text: str) -> str | None:
    """What an article is to be about, where one is asked for: its sources, which have addresses, say nothing here."""
    if not text.startswith('{"keyword":'):
        return None
    try:
        keyword = orjson.loads(text)["keyword"]
    except orjson.JSONDecodeError:
        return None
    return keyword if isinstance(keyword, str) else None


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _wanted_schema(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a structured answer; `{}` for any JSON object, None for plain text."""
    wanted = data.get("response_format") or {"type": "text"}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {}
    nested = wanted.get("json_schema") if kind == "json_schema" else None
    if isinstance(nested, dict) and isinstance(nested.get("schema"), dict) and nested.get("name"):
        return dict(nested["schema"])
    raise Refused(Fault.REJECTED, "Invalid response_format: json_schema needs a name and a schema.")


class _Completer:
    """Writes the good answers; the same seed and identity give the same content."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    async def complete(self, call: Call) -> Answer:
        content, refusal, finish = self._content(call)
        asked = sum(len(_text(message)) for message in call.data["messages"])
        prompt = _tokens(asked)
        completion = _tokens(len(content or refusal or ""))
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": refusal, "annotations": []}
        return json_answer(
            {
                "id": f"chatcmpl-sim{next(_serial):012x}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": call.data["model"],
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": completion,
                    "total_tokens": prompt + completion,
                },
            }
        )

    def _content(self, call: Call) -> tuple[str | None, str | None, str]:
        """Content, refusal and finish reason, twisted if the call asks for it."""
        if Twist.REFUSAL in call.twists:
            return None, _REFUSAL, "stop"
        if Twist.BAD_JSON in call.twists:
            return _NOT_JSON, None, "stop"
        content = self._written(call)
        if Twist.CUT_OFF in call.twists:
            return content[: len(content) // 2], None, "length"
        return content, None, "stop"

    def _written(self, call: Call) -> str:
        rng = Random(number(self._seed, NAME, call.identity))
        schema = _wanted_schema(call.data)
        if schema is None:
            return markdown(rng, call.identity)
        filled = fill(schema, rng) if schema else {"about": call.identity, "text": sentence(rng)}
        return orjson.dumps(filled).decode()


def _tokens(letters: int) -> int:
    return max(1, letters // _LETTERS_A_TOKEN)
