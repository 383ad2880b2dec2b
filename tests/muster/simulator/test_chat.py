"""Chat completions, structured ones too, and errors in OpenAI's shapes."""

import asyncio
import json
from typing import Any

import orjson
import pytest

from tests.muster.simulator.asking import PROFILE, chat, counted
from tests.muster.simulator.conftest import Open

SCHEMA = {
    "$defs": {
        "Topic": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}}, "required": ["name"]}
    },
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "percent": {"type": "integer"},
        "weight": {"type": "number", "minimum": 0, "maximum": 1},
        "reason": {"type": "string"},
        "verdict": {"enum": ["hot", "cold"]},
        "fit": {"type": "boolean"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "nothing": {"type": "null"},
        "topics": {"type": "array", "minItems": 2, "maxItems": 4, "items": {"$ref": "#/$defs/Topic"}},
    },
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "score", "strict": True, "schema": SCHEMA}}


async def test_a_good_answer_has_every_part_of_a_chat_completion(opened: Open) -> None:
    answer = await chat(await opened(), f"What of {PROFILE}?")
    data = answer.json()
    choice = data["choices"][0]
    assert answer.status_code == 200
    assert (data["object"], data["model"], choice["finish_reason"]) == ("chat.completion", "gpt-6-luna", "stop")
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["refusal"] is None
    assert PROFILE in choice["message"]["content"]
    assert choice["message"]["content"].count("\n\n") > 2
    usage = data["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == len(choice["message"]["content"]) // 4
    assert answer.headers["x-request-id"]
    assert "x-ratelimit-limit-requests" not in answer.headers


async def test_a_structured_answer_satisfies_its_schema(opened: Open) -> None:
    client = await opened()
    for n in range(30):
        filled = orjson.loads(await _content(client, f"{PROFILE}-{n}", response_format=FORMAT))
        assert set(filled) == set(SCHEMA["properties"])
        assert 1 <= filled["score"] <= 10
        assert 0 <= filled["percent"] <= 100
        assert 0 <= filled["weight"] <= 1
        assert filled["verdict"] in {"hot", "cold"}
        assert isinstance(filled["fit"], bool)
        assert filled["reason"].endswith(".")
        assert filled["nothing"] is None
        assert 2 <= len(filled["topics"]) <= 4
        assert all(0 < len(topic["name"]) <= 12 for topic in filled["topics"])


async def test_the_same_seed_and_identity_give_the_same_content(opened: Open) -> None:
    first, again, other = await opened(seed=1), await opened(seed=1), await opened(seed=2)
    for more in ({}, {"response_format": FORMAT}):
        content = await _content(first, PROFILE, **more)
        assert content == await _content(again, PROFILE, **more)
        assert content != await _content(other, PROFILE, **more)
        assert content != await _content(first, f"{PROFILE}-2", **more)


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        b"{}",
        b'{"model":"m"}',
        b'{"model":"m","messages":[]}',
        b'{"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema"}}',
    ],
)
async def test_a_body_without_model_messages_or_schema_is_a_400_in_openais_shape(opened: Open, body: bytes) -> None:
    answer = await (await opened()).post("/v1/chat/completions", content=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("", 401, "invalid_api_key"),
        ("sim-denied-1", 401, "invalid_api_key"),
        ("sim-broke", 429, "credit_balance_exhausted"),
    ],
)
async def test_a_bad_key_is_refused_as_openai_would(opened: Open, key: str, status: int, code: str) -> None:
    answer = await chat(await opened(key=key), "hello")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "retry-after" not in answer.headers


async def test_the_models_carry_their_shutdown_date(opened: Open) -> None:
    data = (await (await opened()).get("/v1/models")).json()["data"]
    dates = {model["id"]: model["shutdown_date"] for model in data}
    assert dates["gpt-6-luna"] is None
    assert dates["gpt-5-mini"] == "2026-12-11"


async def test_a_rate_is_told_in_headers_and_kept(opened: Open) -> None:
    client = await opened(rate_per_minute=2)
    first, second, third = [await chat(client, "hello") for _ in range(3)]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in (first, second, third)] == ["1", "0", "0"]
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-reset-requests"]) == ("2", "1m0s")
    assert third.status_code == 429
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert 59 <= int(third.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("marker", "statuses"),
    [
        ("sim-500", [500, 500]),
        ("sim-503", [503, 503]),
        ("sim-flaky", [503, 200]),
        ("sim-429-once", [429, 200]),
        ("sim-reject", [400, 400]),
        ("sim-gone", [404, 404]),
        ("sim-html", [502, 502]),
    ],
)
async def test_a_marker_word_in_the_message_misbehaves(opened: Open, marker: str, statuses: list[int]) -> None:
    client = await opened()
    answers = [await chat(client, f"{PROFILE} {marker}") for _ in statuses]
    assert [answer.status_code for answer in answers] == statuses
    assert (await chat(client, PROFILE)).status_code == 200
    if marker == "sim-429-once":
        assert answers[0].headers["retry-after"] == "1"
    if marker == "sim-html":
        assert answers[0].headers["content-type"] == "text/html"


async def test_spoiled_contents_are_not_json_cut_off_or_refused(opened: Open) -> None:
    client = await opened()
    choices = {
        marker: (await chat(client, marker, response_format=FORMAT)).json()["choices"][0]
        for marker in ("sim-bad-json", "sim-cut-off", "sim-refusal")
    }
    assert choices["sim-bad-json"]["finish_reason"] == "stop"
    assert choices["sim-cut-off"]["finish_reason"] == "length"
    for marker in ("sim-bad-json", "sim-cut-off"):
        with pytest.raises(json.JSONDecodeError):
            json.loads(choices[marker]["message"]["content"])
    assert choices["sim-refusal"]["message"]["content"] is None
    assert choices["sim-refusal"]["message"]["refusal"]


async def test_a_huge_body_is_20_megabytes(opened: Open) -> None:
    assert len((await chat(await opened(), "sim-huge")).content) > 20_000_000


async def test_a_hanging_call_is_never_answered_and_leaves_with_its_client(opened: Open) -> None:
    client = await opened()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await chat(client, "sim-hang")
    assert (await chat(client, "hello")).status_code == 200
    found = await counted(client)
    assert found["answered"]["openai"] == {"200": 1}
    assert found["calls"]["openai"] == {"sim-hang": 1, "hello": 1}
    assert found["max_in_flight"]["openai"] == 1


async def test_identity_is_the_first_url_of_the_last_user_message_or_its_text(opened: Open) -> None:
    client = await opened()
    await chat(client, f"Look at ({PROFILE}), then at https://example.com.")
    await chat(client, f"  {'x' * 300} ")
    parts = [{"type": "text", "text": "See https://example.com/a."}]
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": parts},
    ]
    await client.post("/v1/chat/completions", json={"model": "m", "messages": turns})
    assert (await counted(client))["calls"]["openai"] == {PROFILE: 1, "x" * 200: 1, "https://example.com/a": 1}


async def _content(client: Any, text: str, **more: Any) -> str:
    return str((await chat(client, text, **more)).json()["choices"][0]["message"]["content"])
