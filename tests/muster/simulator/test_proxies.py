"""The simulator's proxies are real ones: they forward, tunnel, refuse, are dead, and log each use."""

import asyncio
from collections.abc import Iterator

import pytest

from muster.settings import Settings
from muster.upstreams.blame import Blame
from muster.upstreams.caller import Caller
from muster.upstreams.pair import Pair
from muster.upstreams.stories import OPEN_CLIENTS, Stories
from tests.flows.simulated import Simulator, simulator


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with simulator(0, "--proxies", "2", "--dead-proxies", "1") as started:
        yield started


@pytest.fixture
def site(sim: Simulator) -> Stories:
    sim.reset()
    return Stories.connect(Settings.model_validate({"STORIES_BASE_URL": sim.address}), Caller())


def pair(sim: Simulator, number: int = 0, session: str = "good", username: str = "ann") -> Pair:
    address = sim.pairs()["proxies"][number]["address"]
    return Pair(1, "http", address, username, "topsecret", {"sessionid": session}, {}, is_verified=False)


async def test_a_check_verifies_finds_and_looks_through_the_proxy(sim: Simulator, site: Stories):
    checked = await site.check(pair(sim), "ada", None, until=float("inf"))

    assert checked.judged.blame is Blame.NOBODY
    assert (checked.verdict.requests, checked.verdict.answered) == (3, True)
    uses = sim.pairs()["uses"]
    assert [it["profile"] for it in uses] == ["", "ada", "ada"]
    assert all(it["ended"] >= it["began"] for it in uses)
    assert set() == OPEN_CLIENTS


async def test_a_dead_proxy_and_one_that_refuses_us_are_to_blame_themselves(sim: Simulator, site: Stories):
    dead = await site.check(pair(sim, 1), "ada", None, until=float("inf"))
    refused = await site.check(pair(sim, username="sim-407"), "ada", None, until=float("inf"))

    assert [it.judged.blame for it in (dead, refused)] == [Blame.PROXY, Blame.PROXY]
    assert not dead.verdict.answered
    assert "topsecret" not in str((dead, refused))
    assert "127.0.0.1" not in str((dead, refused))


async def test_no_call_begins_after_the_lease(sim: Simulator, site: Stories):
    checked = await site.check(pair(sim), "ada", None, until=0.0)

    assert checked.verdict.requests == 0
    assert sim.pairs()["uses"] == []


async def test_a_tunnel_carries_whatever_is_sent(sim: Simulator):
    host, _, port = sim.pairs()["proxies"][0]["address"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    there = sim.address.removeprefix("http://")
    writer.write(f"CONNECT {there} HTTP/1.1\r\nhost: {there}\r\n\r\n".encode())
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")

    writer.write(f"GET /_sim/health HTTP/1.1\r\nhost: {there}\r\nconnection: close\r\n\r\n".encode())

    assert (await reader.read()).endswith(b'{"ok":true}')
    writer.close()
    await writer.wait_closed()
