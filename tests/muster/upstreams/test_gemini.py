"""Gemini with Google Search."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import respx

from muster.errors import ConfigurationError
from muster.outcomes import ErrorKind, Retry
from muster.upstreams.answers import Unanswered
from muster.upstreams.gemini import Gemini
from muster.upstreams.grounded import Citation, GroundedAnswer, Provider
from tests.muster.upstreams.asking import BASE, KEY, PROMPT, ask, body, failing, settings, survives, through

K = ErrorKind
REDIRECT = "https://vertexaisearch.cloud.google.com/grounding-api-redirect/"


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.MockRouter(assert_all_called=False, base_url=BASE) as mocked:
        yield mocked


@pytest.fixture
def route(router: respx.MockRouter) -> respx.Route:
    return router.post("/models/m:generateContent")


@pytest.fixture
def provider(router: respx.MockRouter) -> Provider:
    return Gemini.connect(settings(), through(router))


def chunk(name: str, title: Any) -> dict[str, Any]:
    return {"web": {"uri": f"{REDIRECT}{name}", "title": title}}


def support(start: int | None, *chunks: int, part: int | None = None) -> dict[str, Any]:
    segment = {"partIndex": part, "startIndex": start, "endIndex": 99, "text": "..."}
    told = {name: it for name, it in segment.items() if it is not None}
    return {"segment": told, "groundingChunkIndices": list(chunks), "confidenceScores": [0.9]}


def grounding(chunks: list[Any], supports: list[Any], queries: Any = ("crm", "crm dentist")) -> dict[str, Any]:
    found = {"webSearchQueries": queries, "groundingChunks": chunks, "groundingSupports": supports}
    return {"groundingMetadata": {**found, "searchEntryPoint": {"renderedContent": "<div>"}}}


def candidate(*parts: Any, finish: str = "STOP", **more: Any) -> dict[str, Any]:
    return {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, "index": 0, **more}


USAGE = {"promptTokenCount": 11, "candidatesTokenCount": 7, "thoughtsTokenCount": 100, "totalTokenCount": 118}


def document(*candidates: Any, **more: Any) -> dict[str, Any]:
    top = {"modelVersion": "gemini-m-1", "responseId": "r1", "usageMetadata": USAGE}
    return {**top, "candidates": list(candidates), **more}


def answers(route: respx.Route, *candidates: Any, **more: Any) -> None:
    route.mock(httpx.Response(200, json=document(*candidates, **more)))


CHUNKS = [chunk("a", "acme.com"), chunk("b", "www.B.org"), {"retrievedContext": {"uri": "x"}}, chunk("d", "d.net")]
GOOD = document(
    candidate(
        {"text": "I should think.", "thought": True, "thoughtSignature": "s"},
        {"text": "Use B. "},
        {"text": "Or Acme."},
        {"functionCall": {"name": "x"}},
        **grounding(CHUNKS, [support(7, 0, 1), support(None, 1), support(9, 2, 99, -1)]),
    )
)


async def test_an_answer_is_read_with_its_pages_and_searches(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(200, json=GOOD))

    assert await ask(provider) == GroundedAnswer(
        text="Use B. Or Acme.",
        model="gemini-m-1",
        citations=(
            Citation(f"{REDIRECT}b", "b.org", "www.B.org"),
            Citation(f"{REDIRECT}a", "acme.com", "acme.com"),
            Citation(f"{REDIRECT}d", "d.net", "d.net"),
        ),
        searches=2,
        grounded=True,
        input_tokens=11,
        output_tokens=107,
        id="r1",
    )


@pytest.mark.parametrize("country", [None, "AU"])
async def test_exactly_this_is_sent_whatever_the_country(
    route: respx.Route, provider: Provider, country: str | None
) -> None:
    route.mock(httpx.Response(200, json=GOOD))
    await ask(provider, country=country)

    request = route.calls.last.request
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/models/m:generateContent")
    assert request.headers["x-goog-api-key"] == KEY
    assert "authorization" not in request.headers
    assert request.headers["content-type"] == "application/json"
    assert body(route) == {
        "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
        "tools": [{"googleSearch": {}}],
        "generationConfig": {"maxOutputTokens": 500},
    }


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-3.8-flash", "/base/models/gemini-3.8-flash:generateContent"),
        ("models/gemini-3.8-flash", "/base/models/gemini-3.8-flash:generateContent"),
        ("../x?key=1#y", "/base/models/..%2Fx%3Fkey%3D1%23y:generateContent"),
    ],
)
async def test_the_model_is_one_part_of_the_path(router: respx.MockRouter, model: str, path: str) -> None:
    anything = router.route().mock(httpx.Response(200, json=GOOD))
    await ask(Gemini.connect(settings(), through(router)), model)

    assert anything.calls.last.request.url.raw_path == path.encode()


@pytest.mark.parametrize(
    ("supports", "order"),
    [
        ([], "abd"),
        ([support(5, 3)], "dab"),
        ([support(30, 0), support(20, 1), support(10, 3)], "dba"),
        ([support(1, 1, part=1), support(9, 3, part=0)], "dba"),
        ([support(1, 1), support(1, 1), support(1, 0)], "bad"),
    ],
)
async def test_pages_come_in_the_order_of_the_text_each_once(
    route: respx.Route, provider: Provider, supports: list[Any], order: str
) -> None:
    answers(route, candidate({"text": "x"}, **grounding(CHUNKS, supports)))

    assert [it.url.removeprefix(REDIRECT) for it in (await ask(provider)).citations] == list(order)


@pytest.mark.parametrize(
    ("url", "title", "domain"),
    [
        (f"{REDIRECT}x", "example.com", "example.com"),
        (f"{REDIRECT}x", "The ten best", ""),
        (f"{REDIRECT}x", None, ""),
        ("https://www.example.com/x?utm_source=y", "The ten best", "example.com"),
    ],
)
async def test_the_publisher_is_in_the_title_and_the_redirect_is_nobodys(
    route: respx.Route, provider: Provider, url: str, title: Any, domain: str
) -> None:
    answers(route, candidate({"text": "x"}, **grounding([{"web": {"uri": url, "title": title}}], [])))

    assert (await ask(provider)).citations == (Citation(url, domain, title),)


@pytest.mark.parametrize(
    ("found", "searches", "grounded"),
    [
        ({}, 0, False),
        ({"groundingMetadata": {}}, 0, False),
        ({"groundingMetadata": {"webSearchQueries": [], "groundingChunks": []}}, 0, False),
        ({"groundingMetadata": {"webSearchQueries": ["q"]}}, 1, True),
        ({"groundingMetadata": {"groundingChunks": [chunk("a", "a.com")]}}, 0, True),
    ],
)
async def test_without_a_search_the_answer_is_not_grounded(
    route: respx.Route, provider: Provider, found: Any, searches: int, grounded: bool
) -> None:
    answers(route, candidate({"text": "From memory."}, **found))
    answer = await ask(provider)

    assert (answer.text, answer.searches, answer.grounded) == ("From memory.", searches, grounded)


BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "candidates": None}


@pytest.mark.parametrize(
    ("candidates", "more", "text", "mark"),
    [
        ([], {"promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY", K.REFUSED),
        ([], BLOCKED, "PROHIBITED_CONTENT", K.REFUSED),
        ([{"finishReason": "SAFETY", "index": 0}], {}, "SAFETY", K.REFUSED),
        ([{"finishReason": "RECITATION"}], {}, "RECITATION", K.REFUSED),
        ([{"finishReason": "SOMETHING_NEW"}], {}, "SOMETHING_NEW", K.REFUSED),
        ([candidate({"text": "Half a"}, finish="SPII")], {}, "SPII", K.REFUSED),
        ([{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}], {}, "", K.CUT_OFF),
        ([{"finishReason": "MAX_TOKENS"}], {}, "", K.CUT_OFF),
        ([candidate({"text": "x", "thought": True}, finish="MAX_TOKENS")], {}, "", K.CUT_OFF),
        ([candidate({"text": "Half a"}, finish="MAX_TOKENS")], {}, "Half a", K.CUT_OFF),
        ([candidate({"text": "Half a"}, finish="OTHER")], {}, "Half a", K.CUT_OFF),
        ([candidate({"text": "Half a"}, finish="MALFORMED_RESPONSE")], {}, "Half a", K.CUT_OFF),
    ],
)
async def test_refused_and_cut_off_answers_are_marked_and_no_errors(
    route: respx.Route, provider: Provider, candidates: list[Any], more: dict[str, Any], text: str, mark: ErrorKind
) -> None:
    answers(route, *candidates, **more)
    answer = await ask(provider)

    assert (answer.text, answer.mark, answer.output_tokens) == (text, mark, 107)


@pytest.mark.parametrize(
    ("candidates", "why"),
    [
        ([], ""),
        ([{}], ""),
        ([candidate()], ": STOP"),
        ([candidate({"text": " "})], ": STOP"),
        ([candidate({"text": "x", "thought": True})], ": STOP"),
        ([{"finishReason": "MALFORMED_RESPONSE"}], ": MALFORMED_RESPONSE"),
        ([{"finishReason": "MALFORMED_FUNCTION_CALL"}], ": MALFORMED_FUNCTION_CALL"),
    ],
)
async def test_an_answer_that_lost_its_words_is_a_paid_parse_retry(
    route: respx.Route, provider: Provider, candidates: list[Any], why: str
) -> None:
    answers(route, *candidates)

    said = f"gemini answered without a message{why}."
    assert await failing(provider) == Retry(kind=K.PARSE, error=said, tokens=118)


@pytest.mark.parametrize("document", [{}, [], 3, None, {"candidates": [None]}])
async def test_what_is_no_answer_is_a_parse_retry(route: respx.Route, provider: Provider, document: Any) -> None:
    route.mock(httpx.Response(200, json=document))

    assert (await failing(provider)).kind is K.PARSE


async def test_counts_of_zero_may_be_left_out(route: respx.Route, provider: Provider) -> None:
    answers(route, candidate({"text": "x"}), usageMetadata={"promptTokenCount": 3, "thoughtsTokenCount": None})
    answer = await ask(provider)

    assert (answer.input_tokens, answer.output_tokens, answer.cost_micros) == (3, 0, None)


async def test_texts_lose_their_zero_bytes(route: respx.Route, provider: Provider) -> None:
    answers(route, candidate({"text": "a\x00b"}, **grounding([chunk("\x00x", "a.com\x00")], [])))
    answer = await ask(provider)

    assert answer.text == "ab"
    assert answer.citations == (Citation(f"{REDIRECT}x", "a.com", "a.com"),)


async def test_however_it_is_spoiled_it_is_read_or_is_none(route: respx.Route, provider: Provider) -> None:
    assert await survives(route, provider, GOOD) == {GroundedAnswer, Retry}


async def test_however_a_blocked_answer_is_spoiled_it_is_read_or_is_none(
    route: respx.Route, provider: Provider
) -> None:
    assert await survives(route, provider, document(**BLOCKED)) == {GroundedAnswer, Retry}


def error(status: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": 1, "message": f"No, {KEY}.", "status": status, "details": list(details)}}


def quota(name: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": name}]}


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39.5s"}
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel"
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel"


@pytest.mark.parametrize(
    ("status", "document", "kind", "wait"),
    [
        (400, error("INVALID_ARGUMENT", BAD_KEY), K.DENIED, None),
        (400, error("INVALID_ARGUMENT"), K.REJECTED, None),
        (401, error("UNAUTHENTICATED"), K.DENIED, None),
        (402, error("FAILED_PRECONDITION"), K.OUT_OF_MONEY, None),
        (403, error("PERMISSION_DENIED"), K.DENIED, None),
        (404, error("NOT_FOUND"), K.REJECTED, None),
        (429, error("RESOURCE_EXHAUSTED", quota(PER_MINUTE), WAIT), K.THROTTLED, 39.5),
        (429, error("RESOURCE_EXHAUSTED", quota(PER_DAY), WAIT), K.OUT_OF_MONEY, 39.5),
        (429, [error("RESOURCE_EXHAUSTED", quota(PER_DAY), WAIT)], K.OUT_OF_MONEY, 39.5),
        (500, error("INTERNAL"), K.TRANSIENT, None),
        (503, error("UNAVAILABLE"), K.THROTTLED, None),
        (504, error("DEADLINE_EXCEEDED"), K.TRANSIENT, None),
    ],
)
async def test_an_error_goes_through_the_one_table_with_its_hint(
    route: respx.Route, provider: Provider, status: int, document: Any, kind: ErrorKind, wait: float | None
) -> None:
    route.mock(httpx.Response(status, json=document))
    outcome = await failing(provider)

    assert (outcome.kind, outcome.status_code) == (kind, status)
    assert (outcome.wait if isinstance(outcome, Retry) else None) == wait
    assert outcome.error == f"gemini answered {status}: No, [redacted]."


async def test_without_a_key_no_call_is_made(router: respx.MockRouter) -> None:
    provider = Gemini.connect(settings(GEMINI_API_KEY=" "), through(router))

    with pytest.raises(Unanswered, match=r"^GEMINI_API_KEY is not set") as unanswered:
        await ask(provider)
    assert unanswered.value.outcome.kind is K.DENIED
    assert not router.calls


def test_a_base_url_that_is_none_is_one_clear_sentence(router: respx.MockRouter) -> None:
    with pytest.raises(ConfigurationError, match="GEMINI_BASE_URL is not a plain"):
        Gemini.connect(settings(GEMINI_BASE_URL="google.com"), through(router))


def test_the_adapter_shows_no_key(provider: Provider) -> None:
    assert KEY not in repr(provider)
