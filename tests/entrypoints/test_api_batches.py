"""Batches over HTTP: made, held, started, waiting in line, listed, ordered about."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import httpx
import pytest

from muster.explain import explain_batch
from muster.landing import land
from muster.ledger.mending import Verdict
from muster.limits import Terms
from muster.outcomes import ErrorKind, Failed
from muster.reconcile import look
from tests.entrypoints.api_client import Api, an_api, flaw
from tests.factories import no_rows
from tests.flows.simulated import Simulator, a_client, simulator


@pytest.fixture(scope="session")
def slow() -> Iterator[Simulator]:
    with simulator(300) as started:
        yield started


@pytest.fixture
async def api(database_url: str, slow: Simulator) -> AsyncIterator[Api]:
    async with an_api(database_url, slow) as api:
        yield api


async def state(api: Api, batch_id: int) -> str:
    return str((await api.book.readings.batch(batch_id))["state"])


async def is_over(api: Api, batch_id: int) -> None:
    async with asyncio.timeout(30):
        while await state(api, batch_id) not in {"done", "failed"}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_create_batch_with_valid_profiles_holds_it_and_nobody_takes_it(api: Api):
    await a_client(api.book, "acme", ["a", "b", "c"])

    async with api.caller() as me:
        made = await me.post(
            "/batches", json={"client": "acme", "workload": "profiles", "profiles": ["a", "linkedin/b"]}
        )

    batch = made.json()
    assert (made.status_code, made.headers["location"]) == (201, f"/batches/{batch['id']}")
    assert [batch[it] for it in ("client", "workload", "state", "held")] == ["acme", "profiles", "queued", True]
    assert [batch[it] for it in ("total", "percent", "priority")] == [2, 0.0, 3]
    await api.book.drivers.enter("driver")
    assert await api.book.drivers.pick("driver") is None
    (finding,) = await look(api.book)
    assert (finding.verdict, finding.reason) == (Verdict.AT_REST, "it is held until somebody starts it")
    facts = await api.book.explaining.facts(batch["id"])
    assert f"POST /batches/{batch['id']}/start" in explain_batch(facts)[1]
    assert facts.batch["request"] == {"ids": [1, 2]}


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"client": "acme", "workload": "nope"}, 422, "must be one of profiles, posts, prompts, stories"),
        ({"client": "acme"}, 422, "body.workload: Field required"),
        ({"client": "acme", "workload": "profiles", "priority": 9}, 422, "body.priority"),
        ({"client": "acme", "workload": "profiles", "more": 1}, 422, "body.more: Extra inputs are not permitted"),
        ({"client": "acme", "workload": "profiles", "profiles": []}, 422, "at least 1 item"),
        (
            {"client": "acme", "workload": "prompts", "profiles": ["a"]},
            422,
            "A batch of prompts cannot be narrowed to profiles",
        ),
        ({"client": "nobody", "workload": "profiles"}, 404, "There is no client 'nobody'."),
        ({"client": "acme", "workload": "profiles", "profiles": ["x"]}, 404, "Client 'acme' has no profile 'x'."),
        ({"client": "acme", "workload": "profiles", "profiles": [77]}, 404, "Client 'acme' has no profile 77."),
        ({"client": "idle", "workload": "profiles"}, 409, "for client 'idle': profiles: no profile without a score."),
        ({"client": "away", "workload": "profiles"}, 409, "client is paused"),
    ],
)
async def test_create_batch_with_invalid_data_says_why_in_one_sentence(api: Api, asked: object, status: int, said: str):
    await a_client(api.book, "acme", ["a"])
    await a_client(api.book, "idle", [])
    await a_client(api.book, "away", ["b"], state="paused")

    async with api.caller() as me:
        assert said in flaw(await me.post("/batches", json=asked), status)

    assert await api.book.pages.batches_by_state() == {}


async def test_start_queued_batch_answers_at_once_and_goes_on_without_the_caller(api: Api):
    batch = await api.batch()
    async with api.caller() as me:
        started = await me.post(f"/batches/{batch}/start")
        again = await me.post(f"/batches/{batch}/start")

    assert (started.status_code, started.json()["state"], started.json()["held"]) == (202, "in_progress", False)
    assert started.json()["remaining"] == 2  # no call was waited for; `python -m benchmarks starting` times it
    assert f"Batch {batch} is in progress; only a queued batch" in flaw(again, 409)
    await is_over(api, batch)
    assert (await api.book.readings.batch(batch))["succeeded"] == 2


async def test_start_invalid_batch_says_why(api: Api):
    done = await api.batch()
    await api.book.orders.cancel(done)
    async with api.caller() as me:
        assert flaw(await me.post("/batches/99/start"), 404) == "There is no batch 99."
        assert "is cancelled; only a queued batch can be started" in flaw(await me.post(f"/batches/{done}/start"), 409)
        assert "path.batch_id" in flaw(await me.post("/batches/none/start"), 422)


async def test_concurrent_starts_get_a_409_response_but_one_of_a_hundred(database_url: str, slow: Simulator):
    async with an_api(database_url, slow, lanes=1, in_flight=1) as api, api.caller() as me:
        batches = [await api.batch(handles=[f"p{n}" for n in range(60)]) for _ in range(4)]  # 18 s of work each
        asked = [me.post(f"/batches/{batches[n % 4]}/start") for n in range(100)]
        answers = Counter(answer.status_code for answer in await asyncio.gather(*asked))

    assert answers == {202: 1, 409: 99}


async def test_proper_queuing_begins_the_next_batch_by_itself_when_the_other_ends(api: Api):
    first, second = await api.batch(profiles=["a"]), await api.batch(profiles=["b"])
    api.works.pull()
    async with api.caller() as me:
        assert (await me.post(f"/batches/{first}/start")).status_code == 202
        refused = await me.post(f"/batches/{second}/start")
        queued = await me.post(f"/batches/{second}/start?queue=true")

    assert f"Batch {second} waits for batch {first} of the same client" in flaw(refused, 409)
    assert (queued.status_code, queued.json()["state"], queued.json()["held"]) == (202, "queued", False)
    await is_over(api, second)
    assert [(await api.book.readings.batch(it))["succeeded"] for it in (first, second)] == [1, 1]


async def test_while_it_is_held_no_deadline_passes(api: Api):
    batch = await api.batch()
    before = (await api.book.readings.batch(batch))["deadline_at"]
    await asyncio.sleep(0.05)

    await api.book.orders.let_go(batch)

    after = (await api.book.readings.batch(batch))["deadline_at"]
    assert timedelta(0) < after - before < timedelta(minutes=1)


async def test_orders_in_the_wrong_state_are_refused_with_their_sentence(api: Api):
    batch = await api.batch()
    async with api.caller() as me:
        for order, said in (
            ("pause", "only a batch that is in progress can be paused."),
            ("resume", "only a batch that is paused or failed can be resumed."),
            ("redrive", "only a batch that is done or failed can be redriven."),
        ):
            assert said in flaw(await me.post(f"/batches/{batch}/{order}"), 409)
        cancelled = await me.post(f"/batches/{batch}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"], cancelled.json()["cancelled"]) == (
            200,
            "cancelled",
            2,
        )
        assert "can be put in line" in flaw(await me.post(f"/batches/{batch}/start?queue=true"), 409)
        assert flaw(await me.post("/batches/99/cancel"), 404) == "There is no batch 99."


async def test_a_batch_is_paused_resumed_and_redriven(api: Api):
    batch = await api.batch(handles=["a"])
    lease = await api.book.batches.take(batch, "someone")
    async with api.caller() as me:
        assert (await me.post(f"/batches/{batch}/pause")).json()["state"] == "paused"
        assert (await me.post(f"/batches/{batch}/resume")).json()["state"] == "in_progress"
        await api.book.lanes.enter(lease, "one")
        items, _ = await api.book.lanes.claim(lease, "one", Terms(), {"openai": 1})
        failed = Failed(kind=ErrorKind.PARSE, error="not JSON")
        await api.book.lanes.settle(lease, "one", [land(it, failed, tries=1) for it in items], no_rows)
        whole = (await me.get(f"/batches/{batch}")).json()
        assert whole["causes"] == [{"state": "failed", "why": "parse", "n": 1}]
        assert "there are: 1 parse" in flaw(
            await me.post(f"/batches/{batch}/redrive", json={"kinds": ["transient"]}), 404
        )
        redriven = await me.post(f"/batches/{batch}/redrive", json={"kinds": ["parse"]})
    assert (redriven.status_code, redriven.json()["state"], redriven.json()["failed"]) == (200, "queued", 0)


async def test_batch_listing_with_stats_is_filtered_and_paged_newest_first(api: Api):
    ids = [await api.batch(client, ["a"]) for client in ("acme", "birch", "acme")]
    await api.book.orders.cancel(ids[0])
    async with api.caller() as me:

        async def listed(**query: str | int) -> tuple[list[int], int | None]:
            page = (await me.get("/batches", params=query)).json()
            return [it["id"] for it in page["batches"]], page["next"]

        assert await listed() == (ids[::-1], None)
        stats = (await me.get("/batches")).json()["batches"][-1]
        assert [stats[it] for it in ("total", "succeeded", "cancelled", "remaining", "percent")] == [1, 0, 1, 0, 100.0]
        first, cursor = await listed(limit=2)
        assert (first, cursor) == (ids[:0:-1], ids[1])
        assert await listed(limit=2, cursor=ids[1]) == ([ids[0]], None)
        assert await listed(client="acme") == ([ids[2], ids[0]], None)
        assert await listed(state="cancelled") == ([ids[0]], None)
        assert await listed(workload="posts") == ([], None)
        assert await listed(since="2999-01-01T00:00:00Z") == ([], None)
        assert await listed(since="2020-01-01T00:00:00+02:00") == (ids[::-1], None)
        assert "must be a moment" in flaw(await me.get("/batches", params={"since": "yesterday"}), 422)


async def test_items_and_events_are_paged(api: Api):
    batch = await api.batch(handles=["a", "b", "c"])
    await api.book.orders.let_go(batch)
    async with api.caller() as me:
        page = (await me.get(f"/batches/{batch}/items?limit=2")).json()
        rest = (await me.get(f"/batches/{batch}/items?limit=2&cursor={page['next']}")).json()
        none = (await me.get(f"/batches/{batch}/items?state=failed")).json()
        log = (await me.get(f"/batches/{batch}/events?limit=1")).json()
        older = (await me.get(f"/batches/{batch}/events?limit=1&cursor={log['next']}")).json()
        late = (await me.get(f"/batches/{batch}/events", params={"from": "2999-01-01T00:00:00Z"})).json()
        until = (
            await me.get(f"/batches/{batch}/events", params={"to": "2999-01-01T00:00:00Z", "level": "INFO"})
        ).json()

    assert [it["key"] for it in page["items"] + rest["items"]] == ["linkedin/a", "linkedin/b", "linkedin/c"]
    assert (rest["next"], none) == (None, {"items": [], "next": None})
    assert [it["kind"] for it in log["events"] + older["events"]] == ["batch.started", "batch.queued"]
    assert (late["events"], len(until["events"])) == ([], 2)


async def read_stream(me: httpx.AsyncClient, batch: int, **headers: str) -> list[tuple[str, str]]:
    """The kinds and ids of what was sent until the end."""
    sent = (await me.get(f"/batches/{batch}/stream", headers=headers)).text
    lines = [dict(line.split(": ", 1) for line in block.split("\n")) for block in sent.strip().split("\n\n")]
    return [(it["event"], it["id"]) for it in lines if "event" in it]


async def test_a_stream_tells_progress_and_the_log_until_the_batch_is_closed(api: Api):
    batch = await api.batch()
    async with api.caller() as me, asyncio.timeout(30):
        reading = asyncio.create_task(read_stream(me, batch))
        await asyncio.sleep(0.3)
        await me.post(f"/batches/{batch}/start")
        kinds = [kind for kind, _ in await reading]
        assert (kinds[0], kinds[-2:]) == ("progress", ["progress", "end"])
        assert kinds.count("log") >= 2
        whole = await read_stream(me, batch, **{"Last-Event-ID": "0"})
        last = await read_stream(me, batch, **{"Last-Event-ID": whole[-1][1]})

    assert whole[0][0] == "log"
    assert [kind for kind, _ in last] == ["progress", "end"]


async def test_articles_are_refused_with_the_way_to_have_them(api: Api):
    await a_client(api.book, "acme", [])

    async with api.caller() as me:
        said = await me.post("/batches", json={"client": "acme", "workload": "articles"})

    assert "muster articles KEYWORD..." in flaw(said, 409)
