"""Tavily's stand-in, and the chat model's part in an article: who is counted, which markers bite where."""

import orjson
import pytest

from muster.errors import BadInput
from muster.simulator import read_latency
from tests.muster.simulator.asking import chat, counted
from tests.muster.simulator.conftest import Open


async def test_a_search_gives_as_many_pages_as_are_asked_for_and_says_what_it_cost(opened: Open):
    client = await opened()

    told = (await client.post("/search", json={"query": "pumps", "max_results": 7, "include_usage": True})).json()
    again = (await client.post("/search", json={"query": "pumps", "search_depth": "advanced"})).json()

    assert len(told["results"]) == 7
    assert len(again["results"]) == 5
    assert told["usage"] == {"credits": 1}
    assert "usage" not in again
    assert (await counted(client))["calls"]["tavily"] == {"pumps": 2}


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 400),
        ({"query": "  "}, 400),
        ({"query": "x" * 401}, 400),
        ({"query": "x", "max_results": 21}, 400),
        ({"query": "x", "max_results": "5"}, 400),
        ({"query": "sim-500"}, 500),
        ({"query": "sim-reject"}, 400),
    ],
)
async def test_what_it_does_not_take_is_refused_in_its_own_words(opened: Open, asked: dict[str, object], status: int):
    answer = await (await opened()).post("/search", json=asked)

    assert answer.status_code == status
    assert answer.json()["detail"]["error"]


@pytest.mark.parametrize(("key", "status"), [("sim-denied", 401), ("sim-broke", 432), ("", 401)])
async def test_keys_are_denied_and_run_out_of_money(opened: Open, key: str, status: int):
    assert (await (await opened(key)).post("/search", json={"query": "x"})).status_code == status


async def test_an_article_is_counted_by_its_keyword_whatever_its_sources_say(opened: Open):
    client = await opened()
    sources = [{"url": "https://x.example/sim-reject", "content": "sim-500"}]

    fine = await chat(client, orjson.dumps({"keyword": "pumps", "sources": sources}).decode())
    declined = await chat(client, orjson.dumps({"keyword": "sim-refusal", "sources": []}).decode())

    assert fine.status_code == 200
    assert fine.json()["choices"][0]["message"]["content"].startswith("# pumps\n")
    assert declined.json()["choices"][0]["message"]["refusal"]
    assert (await counted(client))["calls"]["openai"] == {"pumps": 1, "sim-refusal": 1}


def test_one_upstreams_latency_is_told_by_its_name():
    assert read_latency("tavily=300") == ("tavily", 300.0)
    for wrong in ("tavily", "=3", "tavily=", "tavily=x", "tavily=-1"):
        with pytest.raises(BadInput, match="tavily=300"):
            read_latency(wrong)
