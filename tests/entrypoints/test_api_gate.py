"""Who is let in, what each sees, and how errors look; no token or secret is ever told."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from muster.cron import rotate
from muster.errors import Unreachable
from muster.ledger import Book
from tests.entrypoints.api_client import Api, an_api, flaw
from tests.entrypoints.conftest import Muster, in_ledger

OF_A_BATCH = (
    ("GET", ""),
    ("GET", "/items"),
    ("GET", "/events"),
    ("GET", "/stream"),
    ("POST", "/start"),
    ("POST", "/start?queue=true"),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/cancel"),
    ("POST", "/redrive"),
)
OF_ALL = (
    ("POST", "/runs"),
    ("GET", "/runs"),
    ("GET", "/runs/1"),
    ("GET", "/runs/1/certificate"),
    ("GET", "/metrics"),
)


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with an_api(database_url, cron_secret=None) as api:
        yield api


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def test_without_a_token_only_this_machine_is_answered(api: Api):
    async with api.caller() as me, api.caller(peer="10.0.0.9") as far, api.caller(peer="::1") as six:
        assert (await me.get("/batches")).status_code == 200
        assert (await six.get("/batches")).status_code == 200
        for path in ("/batches", "/healthz", "/openapi.json", "/docs", "/nowhere"):
            assert "only this machine is answered" in flaw(await far.get(path), 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},  # a proxy on this machine, for somebody else
        {"Host": "evil.example"},  # a name that was pointed here
        {"Host": "["},
        {"Origin": "https://evil.example"},  # a web page in a browser on this machine
        {"Origin": "null"},
    ],
)
async def test_whoever_asks_for_somebody_else_is_not_this_machine(api: Api, headers: dict[str, str]):
    async with api.caller() as me:
        assert "only this machine" in flaw(await me.get("/batches", headers=headers), 403)


async def test_once_a_token_was_made_one_has_to_be_shown(api: Api):
    token = await api.token()
    async with api.caller() as nobody, api.caller("muster_wrong") as wrong, api.caller(token, peer="10.0.0.9") as far:
        for caller in (nobody, wrong):
            refused = await caller.get("/batches")
            assert "Show a valid token" in flaw(refused, 401)
            assert refused.headers["www-authenticate"] == 'Bearer realm="muster"'
        assert flaw(await nobody.post("/batches", content=b"{no json"), 401)
        assert (await far.get("/batches")).status_code == 200
        assert (await nobody.get("/openapi.json")).status_code == 200

        (kept,) = await api.book.tokens.all()
        assert kept["last_used_at"] is not None
        await api.book.tokens.revoke(kept["id"])
        assert flaw(await far.get("/batches"), 401)
        assert flaw(await nobody.get("/batches"), 401)  # a revoked token does not open the door to everybody


async def test_a_token_for_a_client_sees_that_client_alone(api: Api):
    mine, other = await api.batch("acme"), await api.batch("birch")
    await api.book.orders.cancel(mine)
    await api.book.runs.close(1)
    token = await api.token("acme")
    async with api.caller(token) as me:
        for method, path in OF_A_BATCH:
            assert flaw(await me.request(method, f"/batches/{other}{path}"), 404) == f"There is no batch {other}."
            assert flaw(await me.request(method, f"/batches/999{path}"), 404) == "There is no batch 999."
        for method, path in OF_ALL:
            assert flaw(await me.request(method, path), 404) == "There is nothing at this address."
        made = await me.post("/batches", json={"client": "birch", "workload": "profiles"})
        assert flaw(made, 404) == "There is no client 'birch'."

        assert [it["id"] for it in (await me.get("/batches")).json()["batches"]] == [mine]
        assert (await me.get("/batches?client=birch")).json() == {"batches": [], "next": None}
        assert (await me.get(f"/batches/{mine}")).json()["client"] == "acme"
        assert "birch" not in (await me.get(f"/batches/{mine}/events")).text
    assert (await api.book.readings.batch(other))["held"]


async def test_what_is_not_there_or_does_not_fit_is_a_problem(api: Api):
    async with api.caller() as me:
        assert flaw(await me.get("/nowhere"), 404) == "There is nothing at this address."
        assert flaw(await me.get("/batches/"), 404)
        refused = await me.delete("/batches")
        assert flaw(refused, 405) == "DELETE is not for this address."
        assert refused.headers["allow"] == "GET, POST"
        assert "path.batch_id" in flaw(await me.get("/batches/twelve"), 422)
        assert flaw(await me.get(f"/batches/{2**63}"), 422)
        assert flaw(await me.get("/batches/0"), 422)
        assert flaw(await me.get("/batches", params={"limit": 1000, "cursor": 2**63}), 422)
        assert flaw(await me.get("/batches", params={"client": "\0"}), 422)
        assert "client" not in flaw(await me.post("/batches", content=b"{no json"), 422)
        assert flaw(await me.post("/batches", content=b"x" * (1 << 20) + b"x"), 413)
        assert flaw(await me.post("/batches", content=pieces()), 413)


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(20):
        yield b"x" * (1 << 16)


async def test_what_goes_wrong_inside_stays_inside(api: Api, monkeypatch: pytest.MonkeyPatch):
    async def break_(*_: object) -> None:
        raise ValueError("the secret inside")

    async def be_gone(*_: object) -> None:
        raise Unreachable("The ledger at postgresql://user@host/db could not be used.")

    async with api.caller() as me:
        monkeypatch.setattr(api.book.pages, "batches", break_)
        assert flaw(await me.get("/batches"), 500).startswith("Something went wrong here")
        monkeypatch.setattr(api.book.pages, "batches", be_gone)
        assert flaw(await me.get("/batches"), 503) == "The ledger does not answer; try again in a moment."
        monkeypatch.setattr(api.book.tokens, "all", be_gone)
        assert "postgresql" not in flaw(await me.get("/batches"), 503)


async def test_the_night_is_started_with_the_cron_secret_or_a_token_for_all(api: Api):
    await api.batch("acme", ["a"])
    secret, token = await rotate(api.book), await api.token()
    async with api.caller() as cron, api.caller(token) as operator:
        assert flaw(await cron.post("/runs", headers={"X-Cron-Secret": "wrong"}), 401) == "That is not the cron secret."
        assert flaw(await cron.get("/runs", headers={"X-Cron-Secret": secret}), 401)
        first = await cron.post("/runs", headers={"X-Cron-Secret": secret})
        again = await operator.post("/runs", json={"force": False})
        forced = await operator.post("/runs", json={"force": True})
        assert flaw(await operator.post("/runs", json={"force": "yes"}), 422)
        await api.works.end()

        assert (first.status_code, first.json()["trigger"]) == (202, "nightly")
        assert first.json()["started_by"] == "cron secret, by HTTP"
        assert again.json()["id"] == first.json()["id"]
        assert forced.json()["key"] == f"{first.json()['key']}#2"
        run = (await operator.get(f"/runs/{first.json()['id']}")).json()
        assert [(it["client"], it["workload"]) for it in run["batches"]] == [("acme", "profiles"), ("acme", "posts")]
        assert [it["id"] for it in run["clients"]] == ["acme"]
        assert "still running" in flaw(await operator.get(f"/runs/{run['id']}/certificate"), 409)
        for batch in run["batches"]:
            await operator.post(f"/batches/{batch['id']}/cancel")
        proof = (await operator.get(f"/runs/{run['id']}/certificate")).json()
        assert (proof["complete"], proof["expected"], proof["cancelled"]) == (True, 2, 2)
        assert [it["id"] for it in (await operator.get("/runs?limit=2")).json()["runs"]] == [3, 2]


async def test_a_remote_cron_needs_no_token_to_exist(api: Api):
    secret = await rotate(api.book)
    async with api.caller(peer="10.0.0.9") as cron:
        assert (await cron.post("/runs", headers={"X-Cron-Secret": secret})).status_code == 202


async def test_health_needs_a_ledger_and_a_driver(api: Api, monkeypatch: pytest.MonkeyPatch):
    async with api.caller() as me:
        assert flaw(await me.get("/healthz"), 503)
        await api.book.drivers.enter("one")
        assert (await me.get("/healthz")).json() == {"status": "ok", "drivers": 1}
        await api.token()
        assert (await me.get("/healthz")).status_code == 200


async def test_metrics_count_batches_items_upstreams_and_drivers(api: Api):
    await api.batch("acme", ["a", "b"])
    await api.book.orders.cancel(await api.batch("birch"))
    await api.book.drivers.enter("one")
    async with api.caller() as me:
        answer = await me.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for line in (
        'muster_batches{state="queued"} 1.0',
        'muster_batches{state="cancelled"} 1.0',
        'muster_items{state="pending"} 2.0',
        'muster_items{state="cancelled"} 0.0',
        'muster_upstream_breaker{state="closed",upstream="openai"} 1.0',
        'muster_upstream_breaker{state="open",upstream="openai"} 0.0',
        'muster_upstream_calls_in_flight{upstream="openai"} 0.0',
        "muster_drivers_alive 1.0",
    ):
        assert line in lines


async def test_no_token_or_secret_is_told_anywhere(api: Api, stack: AsyncExitStack, capfd: pytest.CaptureFixture[str]):
    batch = await api.batch("acme")
    secret, token, of_client = await rotate(api.book), await api.token(), await api.token("acme")
    callers = [await stack.enter_async_context(api.caller(it)) for it in (token, of_client)]
    heard: list[str] = []
    for me in callers:
        asked = [(method, f"/batches/{batch}{path}") for method, path in OF_A_BATCH if path != "/stream"]
        for method, path in [("GET", "/batches"), *OF_ALL, *asked]:
            heard.append(_whole(await me.request(method, path, headers={"X-Cron-Secret": secret})))
        heard.append(_whole(await me.get("/batches", headers={"Authorization": f"Bearer {token}x{of_client}"})))
        heard.append(_whole(await me.post("/batches", json={token: secret})))
    await api.works.end()
    written = str([dict(it) for it in await api.book.readings.events(batch, 1000)]) + str(await api.book.tokens.all())
    told = "".join([*heard, *api.said, written, *capfd.readouterr()])

    assert not [it for it in (secret, token, of_client) if it in told]
    assert len(told) > 5000


def _whole(answer: httpx.Response) -> str:
    return f"{answer.headers}{answer.text}"


def test_tokens_are_made_listed_and_revoked(muster: Muster):
    none = muster("tokens", "list")
    made, wrong = muster("tokens", "create", "--all", "--name", "ops"), muster("tokens", "create")
    unknown, both = muster("tokens", "create", "--client", "x"), muster("tokens", "create", "--client", "x", "--all")
    listed, revoked, gone = muster("tokens", "list"), muster("tokens", "revoke", "1"), muster("tokens", "revoke", "7")

    token = made.out.strip()
    assert "answers only this machine" in none.out
    assert (made.code, token[:7], len(token)) == (0, "muster_", 50)
    assert "cannot be read again" in made.err
    assert {it.code for it in (wrong, unknown, both, gone)} == {2}
    assert "Say whom the token is for: --client ID, or --all." in wrong.err
    assert "There is no client 'x'" in unknown.err
    assert "ops" in listed.out
    assert token not in listed.out
    assert revoked.out == "Token 1 is revoked.\n"
    (row,) = muster("tokens", "list", "--json").json["tokens"]
    assert row["revoked_at"] is not None
    assert "hash" not in row

    async def hashes(book: Book) -> str:
        return str([dict(it) for it in await book.tokens.all()])

    assert token not in in_ledger(hashes)
