"""Runs, datasets and errors in Apify's shapes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.muster.simulator.asking import ACTOR, PROFILE, counted, harvest, rows, start
from tests.muster.simulator.conftest import Open

MANY = [f"https://www.linkedin.com/in/person-{n}" for n in range(200)]


async def test_a_run_passes_its_states_and_ends_with_its_cost(opened: Open) -> None:
    client = await opened(latency_ms=150)
    answer = await start(client, MANY[1], query="maxItems=50")
    run = answer.json()["data"]
    assert answer.status_code == 201
    assert (run["status"], run["finishedAt"], run["exitCode"], run["usageTotalUsd"]) == ("READY", None, None, 0)
    waited = (await client.get(f"/v2/actor-runs/{run['id']}?waitForFinish=0.08")).json()["data"]
    assert waited["status"] == "RUNNING"
    assert await rows(client, run) == []
    ended = (await client.get(f"/v2/actor-runs/{run['id']}?waitForFinish=60")).json()["data"]
    posts = [row for row in await rows(client, run) if row["type"] == "post"]
    assert (ended["status"], ended["exitCode"]) == ("SUCCEEDED", 0)
    assert ended["finishedAt"] > ended["startedAt"]
    assert ended["chargedEventCounts"] == {"post": len(posts)}
    assert ended["usageTotalUsd"] == pytest.approx(0.002 * len(posts))
    assert ended["options"]["maxItems"] == 50
    assert {"actId", "userId", "statusMessage", "defaultKeyValueStoreId", "pricingInfo"} <= set(ended)


async def test_a_post_has_the_actors_fields(opened: Open) -> None:
    url = "https://www.linkedin.com/in/sim-many-j%C3%B6rg"
    _, posts = await harvest(await opened(), url, maxPosts=2)
    assert len({post["id"] for post in posts}) == 5
    for post in posts:
        assert post["id"].isdigit()
        assert post["author"]["publicIdentifier"] == "sim-many-j%C3%B6rg"
        assert post["author"]["name"] == "Sim Many Jörg"
        assert post["author"]["type"] == "profile"
        assert post["author"]["linkedinUrl"].startswith(f"{url}?")
        when = datetime.fromisoformat(post["postedAt"]["date"])
        assert when < datetime.now(UTC)
        assert post["postedAt"]["timestamp"] == int(when.timestamp() * 1000)
        assert post["postedAt"]["postedAgoText"].endswith("d")
        assert set(post["engagement"]) == {"likes", "comments", "shares", "reactions"}
        assert post["content"] or post["postImages"]


async def test_the_same_seed_gives_a_profile_the_same_posts(opened: Open) -> None:
    found = [await harvest(await opened(seed=seed), *MANY[:20]) for seed in (1, 1, 2)]
    ids = [[post["id"] for post in posts] for _, posts in found]
    assert ids[0] == ids[1] != ids[2]


async def test_most_profiles_have_two_to_four_posts_and_one_in_ten_has_none(opened: Open) -> None:
    client = await opened()
    numbers = [len((await harvest(client, url))[1]) for url in MANY]
    assert set(numbers) == set(range(7))
    assert 8 <= numbers.count(0) <= 32
    assert sum(2 <= number <= 4 for number in numbers) > 100


async def test_the_dataset_is_mixed(opened: Open) -> None:
    client = await opened()
    run = (await start(client, *MANY)).json()["data"]
    assert {row["type"] for row in await rows(client, run)} == {"post", "comment", "reaction"}


async def test_max_posts_max_items_and_the_charge_cap_the_posts(opened: Open) -> None:
    client = await opened()
    _, by_profile = await harvest(client, *MANY, maxPosts=1)
    authors = [post["author"]["publicIdentifier"] for post in by_profile]
    assert len(authors) == len(set(authors)) > 100
    by_items = (await start(client, *MANY, query="waitForFinish=5&maxItems=7")).json()["data"]
    assert len(await rows(client, by_items)) == 7
    run, by_charge = await harvest(client, *MANY, query="waitForFinish=5&maxTotalChargeUsd=0.01")
    assert len(by_charge) <= 5
    assert run["usageTotalUsd"] <= 0.01


async def test_a_dataset_is_paged_with_its_headers(opened: Open) -> None:
    client = await opened()
    run = (await start(client, *MANY[:20])).json()["data"]
    whole = await rows(client, run)
    answer = await client.get(f"/v2/datasets/{run['defaultDatasetId']}/items?clean=true&offset=3&limit=4")
    names = ("offset", "limit", "count", "total")
    assert answer.json() == whole[3:7]
    assert [int(answer.headers[f"X-Apify-Pagination-{name}"]) for name in names] == [3, 4, 4, len(whole)]


@pytest.mark.parametrize(
    ("marker", "status", "number"),
    [
        ("sim-empty", "SUCCEEDED", 0),
        ("sim-few", "SUCCEEDED", 1),
        ("sim-many", "SUCCEEDED", 8),
        ("sim-failed-run", "FAILED", 0),
        ("sim-timed-out", "TIMED-OUT", 1),
    ],
)
async def test_a_marker_in_the_url_spoils_the_run(opened: Open, marker: str, status: str, number: int) -> None:
    client = await opened()
    for n in range(5):
        query = "waitForFinish=5&maxItems=5"
        run, posts = await harvest(client, f"https://www.linkedin.com/in/{marker}-{n}", query=query, maxPosts=5)
        assert (run["status"], len(posts)) == (status, number)
        assert run["chargedEventCounts"] == {"post": number}


async def test_the_runs_own_timeout_ends_it(opened: Open) -> None:
    client = await opened(latency_ms=5000)
    run, posts = await harvest(client, MANY[1], query="waitForFinish=5&timeout=0.05")
    assert run["status"] == "TIMED-OUT"
    assert len(posts) <= 1


async def test_an_aborted_run_stays_aborted_and_frees_its_place(opened: Open) -> None:
    client = await opened(latency_ms=60)
    run = (await start(client, query="")).json()["data"]
    aborted = (await client.post(f"/v2/actor-runs/{run['id']}/abort")).json()["data"]
    await start(client, query="waitForFinish=5")
    again = (await client.get(f"/v2/actor-runs/{run['id']}")).json()["data"]
    assert aborted["status"] == again["status"] == "ABORTED"
    assert (await counted(client))["max_in_flight"]["apify"] == 1


async def test_a_lost_run_is_found_by_its_time_and_its_input(opened: Open) -> None:
    client = await opened()
    before = datetime.now(UTC)
    runs = [(await start(client, url)).json()["data"] for url in MANY[:3]]
    since: dict[str, str | int] = {"desc": "true", "limit": 2, "startedAfter": before.isoformat()}
    found = (await client.get(ACTOR, params=since)).json()["data"]
    assert [found[name] for name in ("total", "offset", "limit", "desc", "count")] == [3, 0, 2, True, 2]
    assert [item["id"] for item in found["items"]] == [runs[2]["id"], runs[1]["id"]]
    store = found["items"][0]["defaultKeyValueStoreId"]
    assert (await client.get(f"/v2/key-value-stores/{store}/records/INPUT")).json() == {"targetUrls": [MANY[2]]}
    since["startedAfter"] = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    assert (await client.get(ACTOR, params=since)).json()["data"]["items"] == []


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ([], ""),
        ({}, ""),
        ({"targetUrls": []}, ""),
        ({"targetUrls": ["jane-doe"]}, ""),
        ({"targetUrls": [PROFILE, "ftp://example.com/x"]}, ""),
        ({"targetUrls": [PROFILE], "maxPosts": -1}, ""),
        ({"targetUrls": [PROFILE]}, "?waitForFinish=61"),
        ({"targetUrls": [PROFILE]}, "?maxItems=some"),
    ],
)
async def test_a_bad_input_is_refused_in_apifys_shape(opened: Open, body: Any, query: str) -> None:
    answer = await (await opened()).post(f"{ACTOR}{query}", json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid-input")
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(("key", "status"), [("", 401), ("sim-denied", 401), ("sim-broke", 402)])
async def test_a_bad_token_starts_nothing(opened: Open, key: str, status: int) -> None:
    client = await opened(key=key)
    answer = await start(client)
    assert (answer.status_code, set(answer.json()["error"])) == (status, {"type", "message"})
    assert (await counted(client))["max_in_flight"]["apify"] == 0


@pytest.mark.parametrize(
    "path", ["/v2/actor-runs/none", "/v2/datasets/none/items", "/v2/key-value-stores/x/records/INPUT"]
)
async def test_what_does_not_exist_is_a_404(opened: Open, path: str) -> None:
    answer = await (await opened()).get(path)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "record-not-found")


async def test_only_starts_are_calls_but_every_answer_is_counted(opened: Open) -> None:
    client = await opened()
    run, _ = await harvest(client, MANY[0], MANY[1])
    await client.get(f"/v2/actor-runs/{run['id']}")
    found = await counted(client)
    assert found["calls"]["apify"] == {MANY[0]: 1}
    assert found["answered"]["apify"] == {"201": 1, "200": 2}
    assert found["max_in_flight"]["apify"] == 1


async def test_a_rate_counts_polls_too_and_answers_429_in_apifys_shape(opened: Open) -> None:
    client = await opened(rate_per_minute=2)
    await harvest(client)
    answer = await start(client)
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate-limit-exceeded")
    assert answer.headers["retry-after"] == "60"
