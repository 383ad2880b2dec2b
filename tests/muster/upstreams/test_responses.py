"""OpenAI's Responses with web search."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import respx

from muster.errors import ConfigurationError
from muster.outcomes import ErrorKind, Failed, Retry
from muster.upstreams.answers import Unanswered
from muster.upstreams.chat import Chat
from muster.upstreams.grounded import Citation, GroundedAnswer, Provider
from muster.upstreams.responses import Responses
from tests.muster.upstreams.asking import BASE, KEY, PROMPT, ask, body, failing, settings, survives, through

K = ErrorKind


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.MockRouter(assert_all_called=False, base_url=BASE) as mocked:
        yield mocked


@pytest.fixture
def route(router: respx.MockRouter) -> respx.Route:
    return router.post("/responses")


@pytest.fixture
def provider(router: respx.MockRouter) -> Provider:
    return Responses.connect(settings(), through(router))


def search(**more: Any) -> dict[str, Any]:
    action = {
        "type": "search",
        "query": "crm",
        "queries": ["crm"],
        "sources": [{"type": "url", "url": "https://z.com"}],
    }
    return {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action, **more}


def cites(url: str, title: str | None = None, kind: str = "url_citation") -> dict[str, Any]:
    return {"type": kind, "url": url, "title": title, "start_index": 0, "end_index": 4}


def says(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def message(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(parts)}


def document(*output: Any, **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 11, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}}
    top = {"id": "resp_1", "object": "response", "status": "completed", "error": None, "incomplete_details": None}
    return {**top, "model": "m-1", "output": list(output), "usage": usage, **more}


def answers(route: respx.Route, *output: Any, **more: Any) -> None:
    route.mock(httpx.Response(200, json=document(*output, **more)))


GOOD = document(
    {"type": "reasoning", "id": "rs_1", "summary": []},
    search(),
    search(action={"type": "open_page", "url": "https://a.com"}),
    message(
        says("Use Acme. ", cites("https://www.acme.com/x?utm_source=openai", "Acme"), cites("https://b.org/", None)),
        {"type": "brand_new_part", "text": "nor this"},
        says("Or B.", cites("https://www.acme.com/x", "Again"), {"type": "file_citation", "file_id": "f"}),
    ),
    {"type": "brand_new_item", "content": [says("not this")]},
)


async def test_an_answer_is_read_with_its_pages_and_searches(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(200, json=GOOD))

    assert await ask(provider) == GroundedAnswer(
        text="Use Acme. Or B.",
        model="m-1",
        citations=(Citation("https://www.acme.com/x", "acme.com", "Acme"), Citation("https://b.org/", "b.org")),
        searches=1,
        grounded=True,
        input_tokens=11,
        output_tokens=7,
        id="resp_1",
    )


async def test_exactly_this_is_sent(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(200, json=GOOD))
    await ask(provider, "gpt-x")

    request = route.calls.last.request
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/responses")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert body(route) == {
        "model": "gpt-x",
        "input": PROMPT,
        "max_output_tokens": 500,
        "store": False,
        "tools": [{"type": "web_search"}],
        "tool_choice": "required",
        "include": ["web_search_call.action.sources"],
    }


async def test_a_country_is_where_the_asker_seems_to_be(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(200, json=GOOD))
    await ask(provider, country="AU")

    located = {"type": "web_search", "user_location": {"type": "approximate", "country": "AU"}}
    assert body(route)["tools"] == [located]


@pytest.mark.parametrize(
    ("calls", "searches"),
    [
        ([search(), search()], 2),
        ([{"type": "web_search_call"}], 1),
        ([search(action=None)], 1),
        ([search(action={"type": "find_in_page"})], 0),
    ],
)
async def test_searches_are_counted_as_they_are_billed(
    route: respx.Route, provider: Provider, calls: list[Any], searches: int
) -> None:
    answers(route, *calls, message(says("x")))
    answer = await ask(provider)

    assert (answer.searches, answer.grounded) == (searches, True)


async def test_without_a_search_the_answer_is_not_grounded(route: respx.Route, provider: Provider) -> None:
    answers(route, message(says("From memory.")))
    answer = await ask(provider)

    assert (answer.text, answer.grounded, answer.searches, answer.citations) == ("From memory.", False, 0, ())


INCOMPLETE = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
FILTERED = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}


@pytest.mark.parametrize(
    ("output", "more", "text", "mark"),
    [
        ([message({"type": "refusal", "refusal": "I will not."})], {}, "I will not.", K.REFUSED),
        ([message(says("Well. "), {"type": "refusal", "refusal": "No."})], {}, "No.", K.REFUSED),
        ([message({"type": "refusal", "refusal": None})], {}, "refusal", K.REFUSED),
        ([message(says("Half a"))], INCOMPLETE, "Half a", K.CUT_OFF),
        ([search()], INCOMPLETE, "", K.CUT_OFF),
        ([message(says("Half a"))], {"status": "incomplete"}, "Half a", K.CUT_OFF),
        ([message(says("Half a"))], FILTERED, "content_filter", K.REFUSED),
        ([], FILTERED, "content_filter", K.REFUSED),
    ],
)
async def test_refused_and_cut_off_answers_are_marked(
    route: respx.Route, provider: Provider, output: list[Any], more: dict[str, Any], text: str, mark: ErrorKind
) -> None:
    answers(route, *output, **more)
    answer = await ask(provider)

    assert (answer.text, answer.mark, answer.input_tokens) == (text, mark, 11)


@pytest.mark.parametrize("output", [[], [search()], [message()], [message(says(""))], [message(says(" \n"), None)]])
async def test_an_answer_without_words_is_a_paid_parse_retry(
    route: respx.Route, provider: Provider, output: list[Any]
) -> None:
    answers(route, *output)

    assert await failing(provider) == Retry(kind=K.PARSE, error="openai answered without a message.", tokens=18)


@pytest.mark.parametrize("document", [{}, [], 3, None, {"output": None}, {"output": [None]}])
async def test_what_is_no_answer_is_a_parse_retry(route: respx.Route, provider: Provider, document: Any) -> None:
    route.mock(httpx.Response(200, json=document))

    assert (await failing(provider)).kind is K.PARSE


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "server_error", "message": f"Try again, {KEY}"}, K.TRANSIENT),
        ({"code": "rate_limit_exceeded", "message": "Slower"}, K.THROTTLED),
        ({"code": "insufficient_quota", "message": "Pay"}, K.OUT_OF_MONEY),
        ({"code": "invalid_prompt", "message": "Flagged"}, K.REJECTED),
        ({"code": "image_too_large", "message": "x"}, K.REJECTED),
        ({"code": "vector_store_timeout", "message": "x"}, K.TRANSIENT),
        ({"message": "Nobody knows"}, K.TRANSIENT),
        (None, K.TRANSIENT),
        ("broken", K.TRANSIENT),
    ],
)
async def test_a_failure_with_a_good_status_is_what_its_code_says(
    route: respx.Route, provider: Provider, error: Any, kind: ErrorKind
) -> None:
    answers(route, message(says("Half a")), status="failed", error=error)
    outcome = await failing(provider)

    assert (outcome.kind, outcome.status_code, outcome.tokens) == (kind, 200, 18)
    assert isinstance(outcome, Failed if kind is K.REJECTED else Retry)
    assert outcome.error.startswith("openai answered 200 with an error")


async def test_a_failure_says_what_openai_said_and_when_to_come_back(route: respx.Route, provider: Provider) -> None:
    error = {"code": "rate_limit_exceeded", "message": "Slower"}
    route.mock(httpx.Response(200, json=document(status="failed", error=error), headers={"retry-after": "7"}))

    said = "openai answered 200 with an error: Slower."
    assert await failing(provider) == Retry(kind=K.THROTTLED, error=said, wait=7, status_code=200, tokens=18)


async def test_an_error_in_the_place_of_a_message_is_one_whatever_the_status_says(
    route: respx.Route, provider: Provider
) -> None:
    route.mock(httpx.Response(200, json={"error": {"code": "server_error", "message": "Busy"}}))

    assert (await failing(provider)).kind is K.TRANSIENT


async def test_texts_lose_their_zero_bytes(route: respx.Route, provider: Provider) -> None:
    answers(route, message(says("a\x00b", cites("https://a.com/\x00x", "T\x00"))), model="m\x00", id="i\x00")
    answer = await ask(provider)

    assert (answer.text, answer.model, answer.id) == ("ab", "m", "i")
    assert answer.citations == (Citation("https://a.com/x", "a.com", "T"),)


async def test_however_it_is_spoiled_it_is_read_or_is_none(route: respx.Route, provider: Provider) -> None:
    assert await survives(route, provider, GOOD) == {GroundedAnswer, Retry}


async def test_however_a_failure_is_spoiled_it_is_none(route: respx.Route, provider: Provider) -> None:
    failed = document(status="failed", error={"code": "invalid_prompt", "message": "No."})

    assert await survives(route, provider, failed) == {Failed, Retry}


def error(code: str | None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": f"No, {KEY}.", "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (401, error("invalid_api_key"), K.DENIED),
        (402, error(None), K.OUT_OF_MONEY),
        (429, error("credit_balance_exhausted", "insufficient_quota"), K.OUT_OF_MONEY),
        (429, error("rate_limit_exceeded", "requests"), K.THROTTLED),
        (400, error(None), K.REJECTED),
        (500, error(None, "server_error"), K.TRANSIENT),
        (503, error("slow_down", "server_error"), K.THROTTLED),
    ],
)
async def test_an_error_goes_through_the_one_table(
    route: respx.Route, provider: Provider, status: int, document: Any, kind: ErrorKind
) -> None:
    route.mock(httpx.Response(status, json=document))
    outcome = await failing(provider)

    assert (outcome.kind, outcome.status_code) == (kind, status)
    assert outcome.error == f"openai answered {status}: No, [redacted]."


async def test_without_a_key_no_call_is_made(router: respx.MockRouter) -> None:
    provider = Responses.connect(settings(OPENAI_API_KEY=" "), through(router))

    with pytest.raises(Unanswered, match=r"^OPENAI_API_KEY is not set") as unanswered:
        await ask(provider)
    assert unanswered.value.outcome.kind is K.DENIED
    assert not router.calls


def test_a_base_url_that_is_none_is_one_clear_sentence(router: respx.MockRouter) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_BASE_URL is not a plain"):
        Responses.connect(settings(OPENAI_BASE_URL="api.openai.com"), through(router))


def test_the_adapter_shows_no_key_and_shares_the_upstream_of_chat(provider: Provider) -> None:
    assert KEY not in repr(provider)
    assert Responses.NAME == Chat.NAME
