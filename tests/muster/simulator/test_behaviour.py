"""Markers, rates and shares by themselves, and the real server in a process of its own."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random

import httpx
import pytest

from muster.errors import BadInput, ConfigurationError
from muster.simulator import UPSTREAMS, Options, create_app, serve
from muster.simulator.behaviour import MARKERS, Fault, latency, marked_fault, markers_in, random_fault, share, twists_in
from muster.simulator.filling import fill
from muster.simulator.rate import SlidingWindow, go_duration
from tests.muster.simulator.asking import PROFILE, chat, counted, harvest, start
from tests.muster.simulator.conftest import Open


def test_every_marker_word_is_found_and_does_exactly_one_thing() -> None:
    for word, marker in MARKERS.items():
        assert markers_in(f"https://example.com/{word}-x") == (marker,)
        assert (marker.fault is None) != (marker.twist is None)
        assert marker.says
    assert markers_in("a simple text about sim-cards") == ()
    assert twists_in("sim-few and sim-empty") == {MARKERS["sim-few"].twist, MARKERS["sim-empty"].twist}


def test_a_first_call_fault_passes() -> None:
    assert [marked_fault("sim-flaky", turn) for turn in (1, 2, 3)] == [Fault.UNAVAILABLE, None, None]
    assert [marked_fault("sim-hang", turn) for turn in (1, 9)] == [Fault.HANG, Fault.HANG]


def test_rates_are_kept_by_share_and_by_turns() -> None:
    options = Options(error_rate=0.3, hang_rate=0.1)
    faults = [random_fault(options, "openai", f"profile {n}", 1) for n in range(6000)]
    assert faults.count(Fault.HANG) / 6000 == pytest.approx(0.1, abs=0.02)
    for fault in (Fault.BROKEN, Fault.UNAVAILABLE, Fault.OVERLOADED):
        assert faults.count(fault) / 6000 == pytest.approx(0.1, abs=0.02)


def test_a_fault_depends_on_seed_upstream_identity_and_turn() -> None:
    options = Options(error_rate=0.5, seed=3)
    drawn = [random_fault(options, "openai", f"{n}", 1) for n in range(64)]
    assert drawn == [random_fault(options, "openai", f"{n}", 1) for n in range(64)]
    assert drawn != [random_fault(options, "apify", f"{n}", 1) for n in range(64)]
    assert drawn != [random_fault(options, "openai", f"{n}", 2) for n in range(64)]
    assert drawn != [random_fault(Options(error_rate=0.5, seed=4), "openai", f"{n}", 1) for n in range(64)]


def test_latency_lies_within_a_fifth_of_its_base() -> None:
    taken = [latency(Options(latency_ms=1000), "openai", f"{n}", 1) for n in range(500)]
    assert 0.8 <= min(taken) < 0.81
    assert 1.19 < max(taken) < 1.2
    assert latency(Options(), "openai", "x", 1) == 0
    assert all(0 <= share(n) < 1 for n in range(100))


def test_a_window_lets_in_so_many_calls_in_any_sixty_seconds() -> None:
    window = SlidingWindow(2)
    assert [window.admit(now) for now in (0, 30, 40, 59)] == [None, None, 20, 1]
    assert window.admit(60) is None
    assert window.admit(61) == 29
    state = window.state(61)
    assert state is not None
    assert (state.limit, state.remaining, state.reset) == (2, 0, 59)
    assert SlidingWindow(None).admit(0) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.012, "12ms"), (1, "1s"), (59.9999, "1m0s"), (360, "6m0s"), (3723.5, "1h2m3.5s")],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    child = {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}
    children = {"type": "array", "items": {"$ref": "#/$defs/Node"}}
    node = {"type": "object", "properties": {"next": child, "all": children, "of": {"type": ["null", "integer"]}}}
    filled = fill({"$defs": {"Node": node}, "$ref": "#/$defs/Node"}, Random(1))
    assert isinstance(filled["next"]["next"], dict)
    assert isinstance(filled["of"], int)


@pytest.mark.parametrize(
    "wrong", [{"error_rate": 2}, {"hang_rate": 0.6, "error_rate": 0.6}, {"port": -1}, {"rate_per_minute": 0}]
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="The simulator cannot run like this"):
        Options(**wrong)  # type: ignore[arg-type]


async def test_the_same_seed_gives_the_same_answers_whatever_the_concurrency(opened: Open) -> None:
    one_by_one, at_once = await opened(error_rate=0.4, seed=5), await opened(error_rate=0.4, seed=5)
    texts = [f"{PROFILE}-{n % 20}" for n in range(100)]
    slow = sorted([(text, (await chat(one_by_one, text)).status_code) for text in texts])
    answers = await asyncio.gather(*(chat(at_once, text) for text in texts))
    assert slow == sorted(zip(texts, (answer.status_code for answer in answers), strict=True))
    assert {status for _, status in slow} == {200, 500, 503}


async def test_throttled_calls_change_no_later_fault(opened: Open) -> None:
    client = await opened(rate_per_minute=1)
    await chat(client, "hello")
    assert (await chat(client, "sim-flaky")).status_code == 429
    await client.post("/_sim/reset")
    assert (await chat(client, "sim-flaky")).status_code == 503
    assert (await counted(client))["calls"]["openai"] == {"sim-flaky": 1}


async def test_calls_in_flight_are_counted_and_reset_forgets_them(opened: Open) -> None:
    client = await opened(latency_ms=50)
    await asyncio.gather(*(chat(client, f"question {n}") for n in range(5)))
    found = await counted(client)
    none = dict.fromkeys(UPSTREAMS, 0)
    assert found["max_in_flight"] == none | {"openai": 5}
    assert found["max_in_minute"] == none | {"openai": 5}
    assert (await client.post("/_sim/reset")).status_code == 200
    nothing: dict[str, dict[str, int]] = {name: {} for name in UPSTREAMS}
    assert await counted(client) == {
        "calls": nothing,
        "in_flight": none,
        "max_in_flight": none,
        "max_in_minute": none,
        "answered": nothing,
    }


async def test_runs_under_way_survive_a_reset(opened: Open) -> None:
    client = await opened(latency_ms=80)
    await start(client, query="")
    await client.post("/_sim/reset")
    assert (await counted(client))["max_in_flight"]["apify"] == 1
    await harvest(client)
    await asyncio.sleep(0.1)
    await client.post("/_sim/reset")
    assert (await counted(client))["max_in_flight"]["apify"] == 0


async def test_hanging_starts_never_begin_a_run(opened: Open) -> None:
    client = await opened(hang_rate=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await start(client)
    found = await counted(client)
    assert (found["calls"]["apify"], found["max_in_flight"]["apify"]) == ({PROFILE: 1}, 0)


@contextmanager
def running(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "muster.simulator", "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ourselves
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("simulator on http://127.0.0.1:")
            yield process, line.split()[-1]
        finally:
            process.kill()


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
async def test_the_real_server_answers_and_stops_within_a_second_though_calls_hang(name: signal.Signals) -> None:
    with running("--seed", "7", "--rate-per-minute", "600") as (process, url):
        async with httpx.AsyncClient(base_url=url, headers={"authorization": "Bearer key"}, timeout=20) as client:
            assert (await client.get("/_sim/health")).json() == {"ok": True}
            there = (await chat(client, PROFILE)).json()["choices"]
            hanging = [asyncio.create_task(chat(client, "sim-hang")) for _ in range(3)]
            await _until(lambda: client.get("/_sim/calls"), 3)
            process.send_signal(name)
            begun = time.monotonic()
            assert await asyncio.to_thread(process.wait, 10) == 0
            assert time.monotonic() - begun < 1
            ended = await asyncio.gather(*hanging, return_exceptions=True)
            assert all(isinstance(end, httpx.RemoteProtocolError) for end in ended)
    here = httpx.AsyncClient(transport=httpx.ASGITransport(create_app(Options(seed=7))), base_url="http://simulator")
    async with here:
        here.headers["authorization"] = "Bearer key"
        assert (await chat(here, PROFILE)).json()["choices"] == there


async def _until(look: Callable[[], Awaitable[httpx.Response]], number: int) -> None:
    """Wait until so many calls hang."""
    for _ in range(200):
        answer = await look()
        if answer.json()["max_in_flight"]["openai"] >= number:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the calls never came in")


def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    with running() as (_, url), pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1"):
        serve(Options(port=int(url.rpartition(":")[2])))
