"""Chat Completions."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import respx
from pydantic import BaseModel, Field

from muster.errors import ConfigurationError
from muster.outcomes import ErrorKind, Failed, Retry
from muster.settings import Settings
from muster.upstreams.answers import Unanswered
from muster.upstreams.caller import Caller
from muster.upstreams.chat import Chat, Completion, parse

K = ErrorKind
KEY = "made-up-key-123"
MESSAGES = [{"role": "user", "content": "Score it."}]


class Detail(BaseModel):
    default: str = "x"


class Score(BaseModel):
    score: int = Field(ge=0, le=100)
    reason: str = Field(default="", max_length=200)
    detail: Detail | None = None


def settings(**values: str) -> Settings:
    return Settings.model_validate({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://chat.test/v1/", **values})


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.MockRouter(assert_all_called=False, base_url="http://chat.test/v1") as mocked:
        yield mocked


def connect(router: respx.MockRouter, **values: str) -> Chat:
    return Chat.connect(settings(**values), Caller(httpx.MockTransport(router.async_handler)))


async def complete(router: respx.MockRouter, schema: type[BaseModel] | None = None) -> Completion:
    return await connect(router).complete(model="m", messages=MESSAGES, schema=schema, max_tokens=50)


def said(message: Any, finish: str = "stop", **more: Any) -> httpx.Response:
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    return httpx.Response(200, json={"id": "c1", "model": "m-1", "choices": choices, "usage": usage, **more})


async def failing(router: respx.MockRouter) -> Retry | Failed:
    with pytest.raises(Unanswered) as unanswered:
        await complete(router)
    outcome = unanswered.value.outcome
    assert isinstance(outcome, Retry | Failed)
    assert KEY not in outcome.error
    return outcome


async def test_a_completion_is_read_with_its_model_and_tokens(router: respx.MockRouter) -> None:
    route = router.post("/chat/completions").mock(said({"content": "Hello", "refusal": None}))

    assert await complete(router) == Completion("Hello", "m-1", 11, 7, None, "c1")
    request = route.calls.last.request
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert orjson.loads(request.content) == {"model": "m", "messages": MESSAGES, "max_completion_tokens": 50}


async def test_a_schema_is_asked_for_strictly(router: respx.MockRouter) -> None:
    route = router.post("/chat/completions").mock(said({"content": "{}"}))
    await complete(router, Score)
    wanted = orjson.loads(route.calls.last.request.content)["response_format"]
    schema = wanted["json_schema"]["schema"]

    assert (wanted["type"], wanted["json_schema"]["name"], wanted["json_schema"]["strict"]) == (
        "json_schema", "Score", True,
    )  # fmt: skip
    assert schema["required"] == ["score", "reason", "detail"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["score"] == {"maximum": 100, "minimum": 0, "title": "Score", "type": "integer"}
    assert "maxLength" not in schema["properties"]["reason"]
    assert "default" not in schema["properties"]["reason"]
    assert schema["$defs"]["Detail"]["required"] == ["default"]  # a property's name is no keyword
    assert schema["$defs"]["Detail"]["additionalProperties"] is False


async def test_a_satisfying_answer_is_parsed(router: respx.MockRouter) -> None:
    router.post("/chat/completions").mock(said({"content": '{"score": 7, "reason": "r", "detail": null}'}))

    assert parse(await complete(router, Score), Score) == Score(score=7, reason="r")


def completion(text: str, mark: ErrorKind | None = None) -> Completion:
    return Completion(text, "m", 1, 1, mark, "c")


def test_json_in_a_fence_is_parsed_too() -> None:
    assert parse(completion('```json\n{"score": 7}\n```\n'), Score).score == 7


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"score": 700}', "openai's answer does not fit: score: Input should be less than or equal to 100."),
        ('{"reason": "r"}', "openai's answer does not fit: score: Field required."),
        ("Sure! Here", "openai's answer does not fit: Invalid JSON: expected value at line 1 column 1."),
        ("", "openai's answer does not fit: Invalid JSON: EOF while parsing a value at line 1 column 0."),
    ],
)
def test_an_answer_that_does_not_satisfy_the_schema_is_a_parse_retry(text: str, error: str) -> None:
    with pytest.raises(Unanswered) as unanswered:
        parse(completion(text), Score)
    assert unanswered.value.outcome == Retry(kind=K.PARSE, error=error)


def test_a_cut_off_answer_is_not_parsed() -> None:
    with pytest.raises(Unanswered, match="token limit") as unanswered:
        parse(completion('{"score": 7}', K.CUT_OFF), Score)
    assert unanswered.value.outcome.kind is K.CUT_OFF


def test_a_refusal_is_not_parsed() -> None:
    with pytest.raises(Unanswered, match=r"declined: I will not\.") as unanswered:
        parse(completion("I will not", K.REFUSED), Score)
    assert isinstance(unanswered.value.outcome, Failed)


@pytest.mark.parametrize(
    ("message", "finish", "text", "mark"),
    [
        ({"content": None, "refusal": "I will not."}, "stop", "I will not.", K.REFUSED),
        ({"content": "", "refusal": "I will not."}, "stop", "I will not.", K.REFUSED),
        ({"content": "Half a"}, "length", "Half a", K.CUT_OFF),
        ({"content": None}, "length", "", K.CUT_OFF),
        ({"content": None}, "content_filter", "", K.REFUSED),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, 3]}, "stop", "ab", None),
        ({"content": ""}, "stop", "", None),
    ],
)
async def test_refused_and_cut_off_answers_are_marked(
    router: respx.MockRouter, message: Any, finish: str, text: str, mark: ErrorKind | None
) -> None:
    router.post("/chat/completions").mock(said(message, finish))
    answered = await complete(router)

    assert (answered.text, answered.mark) == (text, mark)


@pytest.mark.parametrize(
    "body", [{}, [], 3, {"choices": []}, {"choices": [None]}, {"choices": [{"message": {"content": None}}]}]
)
async def test_an_answer_without_a_message_is_a_parse_retry(router: respx.MockRouter, body: Any) -> None:
    router.post("/chat/completions").mock(httpx.Response(200, json=body))

    assert await failing(router) == Retry(kind=K.PARSE, error="openai answered without a message.")


async def test_a_good_status_with_an_error_in_it_says_what_the_server_said(router: respx.MockRouter) -> None:
    router.post("/chat/completions").mock(httpx.Response(200, json={"error": {"message": "Upstream is busy"}}))

    assert (await failing(router)).error == "openai answered without a message: Upstream is busy."


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many", "completion_tokens": -1}])
async def test_a_server_that_does_not_count_is_read_as_zero(router: respx.MockRouter, usage: Any) -> None:
    router.post("/chat/completions").mock(said({"content": "x"}, usage=usage))
    answered = await complete(router)

    assert (answered.input_tokens, answered.output_tokens) == (0, 0)


async def test_an_error_goes_through_the_one_table(router: respx.MockRouter) -> None:
    error = {"error": {"message": f"Used up by {KEY}", "type": "insufficient_quota", "param": None, "code": None}}
    router.post("/chat/completions").mock(httpx.Response(429, json=error))

    assert (await failing(router)).kind is K.OUT_OF_MONEY


@pytest.mark.parametrize("key", ["", "   "])
async def test_without_a_key_no_call_is_made(router: respx.MockRouter, key: str) -> None:
    chat = connect(router, OPENAI_API_KEY=key)
    with pytest.raises(Unanswered, match=r"^OPENAI_API_KEY is not set; set it and resume the batch\.$") as unanswered:
        await chat.complete(model="m", messages=MESSAGES, max_tokens=5)

    assert unanswered.value.outcome.kind is K.DENIED
    assert not router.calls


@pytest.mark.parametrize("key", ["k\u00e9y", "two words", "a\nb", "a\x00b"])
async def test_what_cannot_be_a_key_is_denied_without_showing_it(router: respx.MockRouter, key: str) -> None:
    with pytest.raises(Unanswered, match="OPENAI_API_KEY") as unanswered:
        await connect(router, OPENAI_API_KEY=key).complete(model="m", messages=MESSAGES, max_tokens=5)

    assert unanswered.value.outcome.kind is K.DENIED
    assert key not in str(unanswered.value)
    assert not router.calls


@pytest.mark.parametrize(
    "url", ["api.openai.com/v1", "ftp://x/v1", "http://", "http://x/v1?key=hunter2", "http://[", ":"]
)
def test_a_base_url_that_is_none_is_one_clear_sentence(router: respx.MockRouter, url: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        connect(router, OPENAI_BASE_URL=url)
    assert str(wrong.value) == (
        "OPENAI_BASE_URL is not a plain http(s) URL; it looks like https://api.openai.com/v1."
    )  # fmt: skip


def test_the_adapter_shows_no_key(router: respx.MockRouter) -> None:
    assert KEY not in repr(connect(router))
