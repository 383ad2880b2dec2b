"""Endpoint pairs and story batches over HTTP: brought in, listed, worked, and no secret told to anybody."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from entrypoints.api import works
from muster.ledger.pool import PROXY
from tests.entrypoints.api_client import Api, an_api, flaw
from tests.flows.simulated import Simulator, a_client, simulator

SECRET = "topsecret"
HANDLES = 6


@pytest.fixture(scope="module")
def site() -> Iterator[Simulator]:
    with simulator(0, "--proxies", "3", "--dead-proxies", "1") as started:
        yield started


@pytest.fixture
async def api(database_url: str, site: Simulator) -> AsyncIterator[Api]:
    async with an_api(database_url, site, pair_spacing_seconds=0) as api:
        await a_client(api.book, "acme", [])
        rows = [{"client_id": "acme", "platform": "instagram", "handle": f"p{n}"} for n in range(HANDLES)]
        niches = [{**row, "niche": "travel" if n < 4 else None} for n, row in enumerate(rows)]
        await api.book.profiles.put([{**row, "url": None, "data": {}} for row in niches])
        yield api


def pairs_of(site: Simulator) -> dict[str, Any]:
    return {
        "proxies": [
            {
                "address": it["address"], "username": "ann", "password": f"{SECRET}-pw",
                "cookie": f"sessionid={SECRET}{at}", "headers": {"x-app-id": f"{SECRET}-header"},
            }
            for at, it in enumerate(site.pairs()["proxies"])
        ]
    }  # fmt: skip


async def is_over(me: httpx.AsyncClient, batch_id: int) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while (batch := (await me.get(f"/batches/{batch_id}")).json())["state"] in {"queued", "in_progress"}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return dict(batch)


async def proved(me: httpx.AsyncClient) -> int:
    """The newest run, once it has its certificate."""
    async with asyncio.timeout(30):
        while (run := (await me.get("/runs")).json()["runs"][0])["state"] == "running":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return int(run["id"])


async def test_pairs_are_brought_in_and_listed_without_what_opens_them(api: Api, site: Simulator):
    async with api.caller() as me:
        brought = await me.post("/proxies", json=pairs_of(site))
        again = await me.post("/proxies", json=pairs_of(site))
        listed = await me.get("/proxies")

    assert (brought.status_code, brought.json(), again.json()) == (201, {"imported": 3}, {"imported": 3})
    assert [it["address"] for it in listed.json()["proxies"]] == [it["address"] for it in site.pairs()["proxies"]]
    assert SECRET not in listed.text
    kept = await api.book.database.read(lambda tx: tx.row(PROXY.select().limit(1)))
    assert kept is not None
    assert (kept["username"], kept["password"]) == ("ann", f"{SECRET}-pw")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"address": f"http://ann:{SECRET}@host:1"}, "body.proxies.0.address: Value error, must be host:port"),
        ({"cookie": SECRET}, "must look like name=value"),
        ({"headers": {"x y": SECRET}}, "body.proxies.0.headers"),
        ({"headers": {"x": f"{SECRET}\r\nx-more: 1"}}, "body.proxies.0.headers"),
        ({"pasword": SECRET}, "Extra inputs are not permitted"),
        ({"scheme": "socks5"}, "'http' or 'https'"),
    ],
)
async def test_a_pair_that_does_not_fit_is_named_without_what_it_holds(api: Api, change: dict[str, Any], said: str):
    async with api.caller() as me:
        refused = await me.post("/proxies", json={"proxies": [{"address": "host:1", **change}]})

    assert said in flaw(refused, 422)
    assert SECRET not in refused.text
    assert await api.book.pairs.count() == 0


async def test_pairs_are_the_operators_alone(api: Api):
    token = await api.token("acme")

    async with api.caller(token) as me:
        assert flaw(await me.get("/proxies"), 404) == "There is nothing at this address."
        assert flaw(await me.post("/proxies", json={"proxies": [{"address": "host:1"}]}), 404)

    assert await api.book.pairs.count() == 0


async def test_create_batch_from_a_niche_up_to_its_target(api: Api, site: Simulator):
    async with api.caller() as me:
        await me.post("/proxies", json=pairs_of(site))
        wrong = await me.post("/batches", json={"client": "acme", "workload": "stories", "niche": "none"})
        other = await me.post("/batches", json={"client": "acme", "workload": "profiles", "niche": "travel"})
        made = await me.post("/batches", json={"client": "acme", "workload": "stories", "niche": "travel"})
        named = await me.post("/batches", json={"client": "acme", "workload": "stories", "profiles": ["p4", "p5"]})

    assert "has no niche 'none'" in flaw(wrong, 404)
    assert "A batch of profiles cannot be narrowed to a niche" in flaw(other, 422)
    assert [it.json()["total"] for it in (made, named)] == [4, 2]
    assert made.json()["target"] is not None


async def test_no_credential_is_told_by_any_answer_log_event_or_error(
    api: Api, site: Simulator, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    async with api.caller() as me:
        await me.post("/proxies", json=pairs_of(site))
        batch = (await me.post("/batches", json={"client": "acme", "workload": "stories"})).json()["id"]
        assert (await me.post(f"/batches/{batch}/start")).status_code == 202
        ended = await is_over(me, batch)
        run = await proved(me)
        asked = [
            "/batches", f"/batches/{batch}", f"/batches/{batch}/items", f"/batches/{batch}/events?limit=200",
            f"/batches/{batch}/stream", "/proxies", "/runs", f"/runs/{run}",
            f"/runs/{run}/certificate", "/metrics", "/openapi.json",
        ]  # fmt: skip
        answers = [await me.get(it, headers={"Last-Event-ID": "0"}) for it in asked]

    assert (ended["state"], ended["succeeded"]) == ("done", HANDLES)
    assert [it.status_code for it in answers] == [200] * len(asked)
    log = answers[3].json()["events"]
    assert {"batch.queued", "batch.started", "check.started", "pair.leased", "pair.released", "check.ended"} <= {
        it["kind"] for it in log
    }
    shown = capfd.readouterr()
    told = "".join(it.text for it in answers) + caplog.text + shown.out + shown.err + "".join(api.said)
    assert SECRET not in told
    log_text = answers[3].text + answers[4].text
    assert not [it["address"] for it in site.pairs()["proxies"] if it["address"] in log_text]


async def test_more_than_may_be_worked_at_once_are_refused_for_the_moment(
    api: Api, site: Simulator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(works, "MOST_STARTED", 0)
    async with api.caller() as me:
        await me.post("/proxies", json=pairs_of(site))
        batch = (await me.post("/batches", json={"client": "acme", "workload": "stories"})).json()["id"]
        refused = await me.post(f"/batches/{batch}/start")
        queued = await me.post(f"/batches/{batch}/start?queue=true")

    assert "try again in a moment" in flaw(refused, 503)
    assert refused.headers["retry-after"] == "5"
    assert (queued.status_code, queued.json()["state"]) == (202, "queued")
