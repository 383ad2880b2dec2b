"""Perplexity's agent with web search."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import respx

from muster.errors import ConfigurationError
from muster.outcomes import ErrorKind, Failed, Retry
from muster.upstreams.answers import Unanswered
from muster.upstreams.grounded import Citation, GroundedAnswer, Provider
from muster.upstreams.perplexity import Perplexity
from tests.muster.upstreams.asking import BASE, KEY, PROMPT, ask, body, failing, settings, survives, through

K = ErrorKind


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.MockRouter(assert_all_called=False, base_url=BASE) as mocked:
        yield mocked


@pytest.fixture
def route(router: respx.MockRouter) -> respx.Route:
    return router.post("/v1/agent")


@pytest.fixture
def provider(router: respx.MockRouter) -> Provider:
    return Perplexity.connect(settings(), through(router))


def found(*results: Any) -> dict[str, Any]:
    return {"type": "search_results", "queries": ["crm"], "results": list(results)}


def result(number: Any, url: str, title: str = "T") -> dict[str, Any]:
    return {"id": number, "url": url, "title": title, "snippet": "...", "source": "web"}


def says(text: str, *annotations: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": list(annotations)}
    return {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}


def usage(total: Any = 0.00123, **more: Any) -> dict[str, Any]:
    cost = {"currency": "USD", "input_cost": 0.0001, "output_cost": 0.0001, "total_cost": total}
    return {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18, "cost": cost, **more}


def document(*output: Any, **more: Any) -> dict[str, Any]:
    top = {"id": "resp_1", "object": "response", "status": "completed", "model": "perplexity/sonar"}
    return {**top, "output": list(output), "usage": usage(), **more}


def answers(route: respx.Route, *output: Any, **more: Any) -> None:
    route.mock(httpx.Response(200, json=document(*output, **more)))


RESULTS = found(result(1, "https://www.acme.com/x?utm_source=y", "Acme"), result(2, "https://b.org/"), result(3, "u:c"))
ANNOTATION = {"type": "url_citation", "url": "https://www.b.org/", "title": "B", "start_index": 0, "end_index": 3}
GOOD = document(
    RESULTS,
    {"type": "fetch_url_results", "contents": [{"url": "https://z.com", "title": "Z", "snippet": "..."}]},
    says("Use B [2], or Acme [1][2].", ANNOTATION),
    usage=usage(0.00123, tool_calls_details={"web_search": {"invocation": 2}, "fetch_url": {"invocation": 9}}),
)


async def test_an_answer_is_read_with_its_pages_searches_and_cost(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(200, json=GOOD))

    assert await ask(provider) == GroundedAnswer(
        text="Use B [2], or Acme [1][2].",
        model="perplexity/sonar",
        citations=(Citation("https://www.b.org/", "b.org", "B"),),
        searches=2,
        grounded=True,
        input_tokens=11,
        output_tokens=7,
        cost_micros=1230,
        id="resp_1",
    )


async def test_exactly_this_is_sent(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(200, json=GOOD))
    await ask(provider, "perplexity/sonar")

    request = route.calls.last.request
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/v1/agent")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert body(route) == {
        "input": PROMPT,
        "max_output_tokens": 500,
        "model": "perplexity/sonar",
        "tools": [{"type": "web_search"}],
    }


async def test_a_country_is_where_the_asker_seems_to_be(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(200, json=GOOD))
    await ask(provider, country="AU")

    assert body(route)["tools"] == [{"type": "web_search", "user_location": {"country": "AU"}}]


async def test_a_preset_is_sent_in_place_of_model_and_tools(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(200, json=GOOD))
    await ask(provider, "preset:fast", country="AU")

    assert body(route) == {"input": PROMPT, "max_output_tokens": 500, "preset": "fast"}


@pytest.mark.parametrize("annotations", [[], [{"type": "url_citation", "title": "no address"}]])
async def test_without_annotations_the_results_are_cited_that_the_text_points_to(
    route: respx.Route, provider: Provider, annotations: list[Any]
) -> None:
    answers(route, RESULTS, found(result(4, "u:d")), says("B [2], Acme [1][2], D [4], nobody [9], [x].", *annotations))

    assert (await ask(provider)).citations == (
        Citation("https://b.org/", "b.org", "T"),
        Citation("https://www.acme.com/x", "acme.com", "Acme"),
        Citation("u:d", "", "T"),
    )


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "\u0661", "1.0", "True", "None"])
async def test_a_number_that_is_no_results_points_nowhere(route: respx.Route, provider: Provider, number: str) -> None:
    unnumbered = found(result(None, "https://a.com"), result(True, "https://b.com"), result(1.5, "https://c.com"))
    answers(route, unnumbered, says(f"It [{number}]."))

    assert (await ask(provider)).citations == ()


@pytest.mark.parametrize(
    ("output", "details", "searches"),
    [
        ([RESULTS], {"search_web": {"invocation": 3}}, 3),
        ([RESULTS], {"web_search": {"invocation": 1}, "people_search": {"invocation": 1}}, 2),
        ([RESULTS, RESULTS], {}, 2),
        ([RESULTS], {"web_search": {"invocation": None}}, 1),
        ([RESULTS], {"web_search": 5}, 1),
        ([], {"web_search": {"invocation": 1}}, 1),
        ([], {"fetch_url": {"invocation": 1}}, 0),
        ([], None, 0),
    ],
)
async def test_searches_are_counted_as_they_are_billed(
    route: respx.Route, provider: Provider, output: list[Any], details: Any, searches: int
) -> None:
    answers(route, *output, says("x"), usage=usage(tool_calls_details=details))
    answer = await ask(provider)

    assert (answer.searches, answer.grounded) == (searches, searches > 0)


@pytest.mark.parametrize(
    ("cost", "micros"),
    [
        ({"currency": "USD", "total_cost": 0.0000011}, 2),
        ({"total_cost": 0.03}, 30_000),
        ({"currency": "USD", "total_cost": 0}, 0),
        ({"currency": "EUR", "total_cost": 0.03}, None),
        ({"currency": "USD", "total_cost": -1}, None),
        ({"currency": "USD", "total_cost": 1e300}, None),
        ({"currency": "USD", "total_cost": "0.03"}, None),
        ({"currency": "USD"}, None),
        (None, None),
    ],
)
async def test_the_cost_is_what_perplexity_says_in_dollars(
    route: respx.Route, provider: Provider, cost: Any, micros: int | None
) -> None:
    answers(route, says("x"), usage={"cost": cost})

    assert (await ask(provider)).cost_micros == micros


@pytest.mark.parametrize(
    ("output", "status", "text", "mark"),
    [
        ([says("Half a [1]"), RESULTS], "incomplete", "Half a [1]", K.CUT_OFF),
        ([RESULTS], "incomplete", "", K.CUT_OFF),
        (
            [{"type": "message", "content": [{"type": "refusal", "refusal": "I will not."}]}],
            "completed",
            "I will not.",
            K.REFUSED,
        ),
    ],
)
async def test_refused_and_cut_off_answers_are_marked(
    route: respx.Route, provider: Provider, output: list[Any], status: str, text: str, mark: ErrorKind
) -> None:
    answers(route, *output, status=status)
    answer = await ask(provider)

    assert (answer.text, answer.mark, answer.cost_micros) == (text, mark, 1230)


@pytest.mark.parametrize("output", [[], [RESULTS], [says("")], [{"type": "message"}]])
async def test_an_answer_without_words_is_a_paid_parse_retry(
    route: respx.Route, provider: Provider, output: list[Any]
) -> None:
    answers(route, *output)

    said = "perplexity answered without a message."
    assert await failing(provider) == Retry(kind=K.PARSE, error=said, tokens=18, cost_micros=1230)


@pytest.mark.parametrize("document", [{}, [], 3, None, {"status": "queued"}, {"choices": [{"message": {}}]}])
async def test_what_is_no_answer_is_a_parse_retry(route: respx.Route, provider: Provider, document: Any) -> None:
    route.mock(httpx.Response(200, json=document))

    assert (await failing(provider)).kind is K.PARSE


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": f"Oh, {KEY}", "type": "internal_server_error", "code": None}, K.TRANSIENT),
        ({"message": "x", "code": "rate_limit_exceeded"}, K.THROTTLED),
        ({"message": "x", "type": "insufficient_quota"}, K.OUT_OF_MONEY),
        ({"message": "x", "type": "invalid_request", "code": "bad_tool"}, K.REJECTED),
        ({"message": "x"}, K.TRANSIENT),
        (None, K.TRANSIENT),
    ],
)
async def test_a_failure_with_a_good_status_is_what_its_code_says(
    route: respx.Route, provider: Provider, error: Any, kind: ErrorKind
) -> None:
    answers(route, RESULTS, status="failed", error=error)
    outcome = await failing(provider)

    assert (outcome.kind, outcome.status_code) == (kind, 200)
    assert (outcome.tokens, outcome.cost_micros) == (18, 1230)


async def test_texts_lose_their_zero_bytes(route: respx.Route, provider: Provider) -> None:
    answers(route, found(result(1, "https://a.com/\x00", "T\x00")), says("a\x00b [1]"))
    answer = await ask(provider)

    assert answer.text == "ab [1]"
    assert answer.citations == (Citation("https://a.com/", "a.com", "T"),)


@pytest.mark.parametrize("annotations", [[], [ANNOTATION]])
async def test_however_it_is_spoiled_it_is_read_or_is_none(
    route: respx.Route, provider: Provider, annotations: list[Any]
) -> None:
    good = {**GOOD, "output": [RESULTS, says("Use B [2].", *annotations)]}

    assert await survives(route, provider, good) == {GroundedAnswer, Retry}


async def test_however_a_failure_is_spoiled_it_is_none(route: respx.Route, provider: Provider) -> None:
    failed = document(status="failed", error={"message": "No.", "type": "invalid_request", "code": "x"})

    assert await survives(route, provider, failed) == {Failed, Retry}


ERROR = {"error": {"message": f"No, {KEY}.", "type": "some_error", "code": "some_code"}}


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (401, ERROR, K.DENIED),
        (401, {"detail": f"No, {KEY}."}, K.DENIED),
        (402, ERROR, K.OUT_OF_MONEY),
        (429, ERROR, K.THROTTLED),
        (400, ERROR, K.REJECTED),
        (422, {"detail": [{"loc": ["body"], "msg": f"No, {KEY}.", "type": "missing"}]}, K.REJECTED),
        (500, ERROR, K.TRANSIENT),
        (503, ERROR, K.TRANSIENT),
    ],
)
async def test_an_error_goes_through_the_one_table(
    route: respx.Route, provider: Provider, status: int, document: Any, kind: ErrorKind
) -> None:
    route.mock(httpx.Response(status, json=document))
    outcome = await failing(provider)

    assert (outcome.kind, outcome.status_code) == (kind, status)
    assert outcome.error == f"perplexity answered {status}: No, [redacted]."


async def test_a_throttled_answer_carries_the_hint(route: respx.Route, provider: Provider) -> None:
    route.mock(httpx.Response(429, json=ERROR, headers={"retry-after": "7"}))
    outcome = await failing(provider)

    assert isinstance(outcome, Retry)
    assert outcome.wait == 7


async def test_without_a_key_no_call_is_made(router: respx.MockRouter) -> None:
    provider = Perplexity.connect(settings(PERPLEXITY_API_KEY=" "), through(router))

    with pytest.raises(Unanswered, match=r"^PERPLEXITY_API_KEY is not set") as unanswered:
        await ask(provider)
    assert unanswered.value.outcome.kind is K.DENIED
    assert not router.calls


def test_a_base_url_that_is_none_is_one_clear_sentence(router: respx.MockRouter) -> None:
    with pytest.raises(ConfigurationError, match="PERPLEXITY_BASE_URL is not a plain"):
        Perplexity.connect(settings(PERPLEXITY_BASE_URL="api.perplexity.ai"), through(router))


def test_the_adapter_shows_no_key(provider: Provider) -> None:
    assert KEY not in repr(provider)
