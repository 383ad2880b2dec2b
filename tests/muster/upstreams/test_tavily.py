"""Tavily's wire: what is asked, what is read of any answer, what its errors mean."""

import httpx
import orjson
import pytest
from pydantic import SecretStr

from muster.outcomes import ErrorKind, Failed, Retry
from muster.upstreams.answers import Unanswered
from muster.upstreams.caller import Caller
from muster.upstreams.tavily import Found, Tavily

BASE = "http://tavily.test"


async def search(answer: httpx.Response, asked: list[httpx.Request] | None = None, key: str | None = "tvly-k") -> Found:
    def handle(request: httpx.Request) -> httpx.Response:
        (asked if asked is not None else []).append(request)
        return answer

    secret = SecretStr(key) if key else None
    async with Caller(httpx.MockTransport(handle)) as caller:
        return await Tavily(caller, BASE, secret).search("heat pumps", most=3)


async def test_it_asks_for_no_more_results_than_it_uses_and_for_what_it_cost():
    asked: list[httpx.Request] = []

    await search(httpx.Response(200, json={"results": []}), asked)

    assert str(asked[0].url) == f"{BASE}/search"
    assert asked[0].headers["authorization"] == "Bearer tvly-k"
    body = orjson.loads(asked[0].content)
    assert body == {"query": "heat pumps", "search_depth": "basic", "max_results": 3, "include_usage": True}


async def test_pages_of_the_web_are_taken_each_once_and_no_more_than_were_asked_for():
    pages = [{"title": f"T {n}", "url": f"https://x.example/{n}", "content": "c", "score": 0.5} for n in range(5)]
    odd = [{"url": "javascript:alert(1)"}, {"url": 7}, "text", None, {"title": "no url"}]
    told = {"results": [*odd, pages[0], *pages], "usage": {"credits": 2}, "request_id": "r", "unknown": {}}

    found = await search(httpx.Response(200, json=told))

    assert [it.url for it in found.sources] == [it["url"] for it in pages[:3]]
    assert (found.credits, found.request_id) == (2, "r")


@pytest.mark.parametrize("told", [{}, [], {"results": None}, {"results": {}}, {"usage": 1, "results": 2}])
async def test_whatever_shape_it_has_it_is_read(told: object):
    assert await search(httpx.Response(200, json=told)) == Found([], 1, "")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ErrorKind.DENIED),
        (429, ErrorKind.THROTTLED),
        (432, ErrorKind.OUT_OF_MONEY),
        (433, ErrorKind.OUT_OF_MONEY),
        (500, ErrorKind.TRANSIENT),
        (400, ErrorKind.REJECTED),
    ],
)
async def test_its_errors_mean_what_they_say(status: int, kind: ErrorKind):
    for detail in ({"error": "because of tvly-secret123456"}, "because of tvly-secret123456"):
        with pytest.raises(Unanswered) as ended:
            await search(httpx.Response(status, json={"detail": detail}))
        outcome = ended.value.outcome
        assert isinstance(outcome, Retry | Failed)
        assert (outcome.kind, outcome.status_code) == (kind, status)
        assert "because of [redacted]" in outcome.error


async def test_without_a_key_nothing_is_asked():
    asked: list[httpx.Request] = []

    with pytest.raises(Unanswered, match="TAVILY_API_KEY is not set"):
        await search(httpx.Response(200, json={}), asked, key=None)
    assert asked == []
