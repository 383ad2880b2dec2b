"""Anthropic's Messages with web search."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest
import respx

from muster.errors import ConfigurationError
from muster.outcomes import ErrorKind, Failed, Retry
from muster.upstreams import anthropic as module
from muster.upstreams.answers import Answer, Unanswered
from muster.upstreams.anthropic import Anthropic
from muster.upstreams.caller import Call
from muster.upstreams.grounded import Citation, GroundedAnswer, Provider
from tests.muster.upstreams.asking import BASE, KEY, PROMPT, ask, body, failing, settings, survives, through

K = ErrorKind


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.MockRouter(assert_all_called=False, base_url=BASE) as mocked:
        yield mocked


@pytest.fixture
def route(router: respx.MockRouter) -> respx.Route:
    return router.post("/v1/messages")


@pytest.fixture
def provider(router: respx.MockRouter) -> Provider:
    return Anthropic.connect(settings(), through(router))


def cites(url: str, title: str | None, kind: str = "web_search_result_location") -> dict[str, Any]:
    return {"type": kind, "url": url, "title": title, "cited_text": "...", "encrypted_index": "e"}


def says(text: str, *citations: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": list(citations) or None}


def found(*results: Any) -> dict[str, Any]:
    return {"type": "web_search_tool_result", "tool_use_id": "t", "content": list(results)}


CALL = {"type": "server_tool_use", "id": "t", "name": "web_search", "input": {"query": "crm"}}
FOUND = found({"type": "web_search_result", "url": "https://z.com", "title": "Z", "encrypted_content": "e"})
ERROR = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
NOT_FOUND = {"type": "web_search_tool_result", "tool_use_id": "t", "content": ERROR}
USAGE = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 200,
    "cache_read_input_tokens": 3000,
    "output_tokens": 7,
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "standard",
}


def document(*content: Any, stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    top = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-m-1", "stop_sequence": None}
    return {**top, "content": list(content), "stop_reason": stop, "stop_details": None, "usage": USAGE, **more}


def answers(route: respx.Route, *documents: dict[str, Any]) -> None:
    route.mock(side_effect=[httpx.Response(200, json=it) for it in documents])


GOOD = document(
    says("Let me look. "),
    CALL,
    FOUND,
    says("Use "),
    says("Acme", cites("https://www.acme.com/x?utm_source=y", "Acme"), cites("https://b.org/", None)),
    says(", or B", cites("https://b.org/", "B"), cites("https://c.com", "C", "char_location")),
    says("."),
    {"type": "brand_new_block", "text": "not this"},
)


async def test_an_answer_is_read_with_its_pages_and_searches(route: respx.Route, provider: Provider) -> None:
    answers(route, GOOD)

    assert await ask(provider) == GroundedAnswer(
        text="Let me look. Use Acme, or B.",
        model="claude-m-1",
        citations=(Citation("https://www.acme.com/x", "acme.com", "Acme"), Citation("https://b.org/", "b.org")),
        searches=2,
        grounded=True,
        input_tokens=3211,
        output_tokens=7,
        id="msg_1",
    )


async def test_exactly_this_is_sent(route: respx.Route, provider: Provider) -> None:
    answers(route, GOOD)
    await ask(provider, "claude-x")

    request = route.calls.last.request
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/v1/messages")
    assert request.headers["x-api-key"] == KEY
    assert "authorization" not in request.headers
    assert request.headers["anthropic-version"] == "2026-10-21"
    assert request.headers["content-type"] == "application/json"
    assert body(route) == {
        "model": "claude-x",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": PROMPT}],
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
    }


async def test_a_country_is_where_the_asker_seems_to_be(route: respx.Route, provider: Provider) -> None:
    answers(route, GOOD)
    await ask(provider, country="AU")

    assert body(route)["tools"][0]["user_location"] == {"type": "approximate", "country": "AU"}


@pytest.mark.parametrize(
    ("content", "grounded"),
    [
        ([says("x")], False),
        ([CALL, says("x")], False),
        ([CALL, NOT_FOUND, says("x")], False),
        ([CALL, FOUND, CALL, NOT_FOUND, says("x")], True),
        ([CALL, found(), says("x")], True),
    ],
)
async def test_a_search_that_failed_fails_nothing_but_the_grounding(
    route: respx.Route, provider: Provider, content: list[Any], grounded: bool
) -> None:
    answers(route, document(*content))
    answer = await ask(provider)

    assert (answer.text, answer.grounded, answer.mark) == ("x", grounded, None)


@pytest.mark.parametrize(
    ("content", "stop", "details", "text", "mark"),
    [
        ([says("Half a")], "max_tokens", None, "Half a", K.CUT_OFF),
        ([], "max_tokens", None, "", K.CUT_OFF),
        ([says("Half a")], "model_context_window_exceeded", None, "Half a", K.CUT_OFF),
        ([says("I will not.")], "refusal", None, "I will not.", K.REFUSED),
        ([says("Well, ")], "refusal", {"type": "refusal", "explanation": "Unsafe."}, "Unsafe.", K.REFUSED),
        ([], "refusal", {"explanation": None}, "refusal", K.REFUSED),
        ([], "pause_turn", None, "", K.CUT_OFF),
    ],
)  # fmt: skip
async def test_refused_and_cut_off_answers_are_marked(
    route: respx.Route, provider: Provider, content: list[Any], stop: str, details: Any, text: str, mark: ErrorKind
) -> None:
    answers(route, document(*content, stop=stop, stop_details=details))
    answer = await ask(provider)

    assert (answer.text, answer.mark, answer.input_tokens) == (text, mark, 3211)
    assert route.call_count == 1


PAUSED = document(says("One, "), CALL, FOUND, stop="pause_turn", id="msg_0")


async def test_a_paused_turn_is_gone_on_with_and_all_is_summed(route: respx.Route, provider: Provider) -> None:
    answers(route, PAUSED, document(says("two", cites("https://b.org/", "B")), model="claude-m-2"))

    assert await ask(provider) == GroundedAnswer(
        text="One, two",
        model="claude-m-2",
        citations=(Citation("https://b.org/", "b.org", "B"),),
        searches=4,
        grounded=True,
        input_tokens=6422,
        output_tokens=14,
        id="msg_1",
    )
    asked = [{"role": "user", "content": PROMPT}]
    assert body(route, 0)["messages"] == asked
    assert body(route, 1)["messages"] == [*asked, {"role": "assistant", "content": PAUSED["content"]}]
    assert {name: it for name, it in body(route, 0).items() if name != "messages"} == {
        name: it for name, it in body(route, 1).items() if name != "messages"
    }


async def test_an_answer_that_is_still_paused_after_three_more_turns_is_cut_off(
    route: respx.Route, provider: Provider
) -> None:
    answers(route, *[PAUSED] * 9)
    answer = await ask(provider)

    assert route.call_count == 4
    assert (answer.mark, answer.text, answer.searches) == (K.CUT_OFF, "One, " * 4, 8)
    assert [it["role"] for it in body(route)["messages"]] == ["user", "assistant", "assistant", "assistant"]


async def test_an_error_after_a_paused_turn_says_what_was_paid(route: respx.Route, provider: Provider) -> None:
    slow = {"type": "error", "error": {"type": "rate_limit_error", "message": f"Slow, {KEY}."}}
    route.mock(side_effect=[httpx.Response(200, json=PAUSED), httpx.Response(429, json=slow)])

    said = "anthropic answered 429: Slow, [redacted]."
    assert await failing(provider) == Retry(kind=K.THROTTLED, error=said, status_code=429, tokens=3218)


@pytest.mark.parametrize("content", [b"<html>", b'{"content": []}'])
async def test_a_last_turn_that_cannot_be_read_is_what_it_is(
    route: respx.Route, provider: Provider, content: bytes
) -> None:
    silent = {**PAUSED, "content": [CALL, FOUND]}
    route.mock(side_effect=[httpx.Response(200, json=silent), httpx.Response(200, content=content)])
    outcome = await failing(provider)

    assert (outcome.kind, outcome.tokens) == (K.PARSE, 3218)


@dataclass
class Slow:
    """A way out that takes 100 seconds for an answer, and the clock that says so."""

    now: float = 1000
    timeouts: list[float] = field(default_factory=list)
    seam: None = None

    def monotonic(self) -> float:
        return self.now

    async def send(self, call: Call, *, upstream: str, timeout: float) -> Answer:  # noqa: ASYNC109
        self.now += 100
        self.timeouts.append(timeout)
        return Answer(200, {}, orjson.dumps(PAUSED), 100_000, upstream)


async def test_the_time_is_kept_over_all_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(module, "time", slow)
    answer = await ask(Anthropic.connect(settings(), slow))

    assert slow.timeouts == [180, 80]
    assert answer.mark is K.CUT_OFF


@pytest.mark.parametrize("content", [[], [CALL, FOUND], [says("")], [says(" \n")], [None]])
async def test_an_answer_without_words_is_a_paid_parse_retry(
    route: respx.Route, provider: Provider, content: list[Any]
) -> None:
    answers(route, document(*content))

    said = "anthropic answered without a message."
    assert await failing(provider) == Retry(kind=K.PARSE, error=said, tokens=3218)


@pytest.mark.parametrize("document", [{}, [], 3, None, {"content": "text"}])
async def test_what_is_no_answer_is_a_parse_retry(route: respx.Route, provider: Provider, document: Any) -> None:
    route.mock(httpx.Response(200, json=document))

    assert (await failing(provider)).kind is K.PARSE


@pytest.mark.parametrize("usage", [None, {}, dict.fromkeys(USAGE)])
async def test_what_is_not_counted_is_zero(route: respx.Route, provider: Provider, usage: Any) -> None:
    answers(route, document(says("x"), usage=usage))
    answer = await ask(provider)

    assert (answer.input_tokens, answer.output_tokens, answer.searches, answer.cost_micros) == (0, 0, 0, None)


async def test_texts_lose_their_zero_bytes(route: respx.Route, provider: Provider) -> None:
    answers(route, document(says("a\x00b", cites("https://a.com/\x00", "T\x00"))))
    answer = await ask(provider)

    assert answer.text == "ab"
    assert answer.citations == (Citation("https://a.com/", "a.com", "T"),)


@pytest.mark.parametrize("good", [GOOD, document(CALL, NOT_FOUND, says("x")), document(says("No."), stop="refusal")])
async def test_however_it_is_spoiled_it_is_read_or_is_none(route: respx.Route, provider: Provider, good: Any) -> None:
    assert await survives(route, provider, good) == {GroundedAnswer, Retry}


async def test_however_a_paused_turn_is_spoiled_it_is_read_or_is_none(route: respx.Route, provider: Provider) -> None:
    assert await survives(route, provider, PAUSED) == {GroundedAnswer, Retry}


def error(kind: str, code: str | None = None) -> dict[str, Any]:
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": f"No, {KEY}.", **details}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (400, error("invalid_request_error"), K.REJECTED),
        (401, error("authentication_error"), K.DENIED),
        (402, error("billing_error"), K.OUT_OF_MONEY),
        (403, error("permission_error"), K.DENIED),
        (409, error("conflict_error"), K.TRANSIENT),
        (413, error("request_too_large"), K.REJECTED),
        (429, error("rate_limit_error"), K.THROTTLED),
        (429, error("rate_limit_error", "enforced_spend_limit_reached"), K.OUT_OF_MONEY),
        (500, error("api_error"), K.TRANSIENT),
        (504, error("timeout_error"), K.TRANSIENT),
        (529, error("overloaded_error"), K.THROTTLED),
    ],
)
async def test_an_error_goes_through_the_one_table(
    route: respx.Route, provider: Provider, status: int, document: Any, kind: ErrorKind
) -> None:
    route.mock(httpx.Response(status, json=document))
    outcome = await failing(provider)

    assert (outcome.kind, outcome.status_code) == (kind, status)
    assert isinstance(outcome, Failed if kind is K.REJECTED else Retry)
    assert outcome.error == f"anthropic answered {status}: No, [redacted]."


async def test_without_a_key_no_call_is_made(router: respx.MockRouter) -> None:
    provider = Anthropic.connect(settings(ANTHROPIC_API_KEY=" "), through(router))

    with pytest.raises(Unanswered, match=r"^ANTHROPIC_API_KEY is not set") as unanswered:
        await ask(provider)
    assert unanswered.value.outcome.kind is K.DENIED
    assert not router.calls


def test_a_base_url_that_is_none_is_one_clear_sentence(router: respx.MockRouter) -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_BASE_URL is not a plain"):
        Anthropic.connect(settings(ANTHROPIC_BASE_URL="api.anthropic.com"), through(router))


def test_the_adapter_shows_no_key(provider: Provider) -> None:
    assert KEY not in repr(provider)
