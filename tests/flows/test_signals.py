"""SIGINT and SIGTERM to real processes: everything finished is kept, and the same work goes on where it stood."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from deployments.check import ROOT
from flows.nightly import nightly
from muster.ledger import Book
from tests.flows.conftest import Simulate
from tests.flows.seen import PROFILES
from tests.flows.simulated import Simulator, a_client, handles, items_of, states

ITEMS = 40
LATENCY_MS = 2000
FLOW = "import asyncio; from flows.nightly import nightly; asyncio.run(nightly(key='n', workloads=['profiles']))"
COMMAND = "from entrypoints.cli import main; main()"


@pytest.fixture
def small_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lanes of four calls each, so that the work takes five rounds."""
    monkeypatch.setenv("MUSTER_LANES", "2")
    monkeypatch.setenv("MUSTER_IN_FLIGHT", "4")


@contextmanager
def process(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process with this test's environment, killed if it has not ended by then."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def ended_within(child: subprocess.Popen[str], seconds: float) -> int:
    """The process's exit code; what it said, if it does not end in time."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        pytest.fail(f"still there after {seconds} s; it said: {child.communicate()[0][-3000:]}")


def wait_for_two_rounds(sim: Simulator) -> None:
    """Wait until some items are settled and the next calls are in flight."""
    until(lambda: sim.calls("openai").total() >= 12)


async def check_that_some_is_kept(book: Book, key: str) -> int:
    """No item is left running, and what was answered is recorded; how many that are."""
    found = states(await items_of(book, key))
    assert found["running"] == 0
    assert 0 < found["succeeded"] < ITEMS
    assert found["succeeded"] + found["pending"] + found["waiting"] == ITEMS
    return found["succeeded"]


async def check_that_all_is_done_once(book: Book, key: str, sim: Simulator) -> None:
    """Each item has its one end, and at most the calls in flight at the signal were made again."""
    items = await items_of(book, key)
    assert states(items) == {"succeeded": ITEMS}
    assert {it["tries"] for it in items} == {1}
    calls = sim.calls("openai")
    assert len(calls) == ITEMS
    assert calls.total() - ITEMS <= sim.most_in_flight("openai")


@pytest.mark.usefixtures("small_hands")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_a_signal_ends_the_flow_soon_and_the_same_run_goes_on(
    ledger: Book, simulate: Simulate, prefect_api: str, number: signal.Signals
):
    await a_client(ledger, "acme", handles(ITEMS))
    sim = simulate(LATENCY_MS)
    with process(FLOW, PREFECT_API_URL=prefect_api) as child:
        wait_for_two_rounds(sim)
        child.send_signal(number)
        assert ended_within(child, 20) != 0

    kept = await check_that_some_is_kept(ledger, "n")
    assert kept == sim.answered("openai").get("200")
    (batch,) = await ledger.readings.batches_of_key("n")
    assert batch["state"] == "queued"

    account = await nightly(key="n", workloads=PROFILES)

    assert account["state"] == "done"
    await check_that_all_is_done_once(ledger, "n", sim)


@pytest.mark.usefixtures("small_hands")
async def test_an_interrupted_command_exits_with_130_and_goes_on_when_it_is_run_again(ledger: Book, simulate: Simulate):
    await a_client(ledger, "acme", handles(ITEMS))
    sim = simulate(LATENCY_MS)
    with process(COMMAND, "run", "profiles") as child:
        wait_for_two_rounds(sim)
        child.send_signal(signal.SIGINT)
        assert ended_within(child, 20) == 130
        assert child.stdout is not None
        assert "Interrupted; everything finished is kept." in child.stdout.read()
    key = (await ledger.runs.get(1))["key"]
    await check_that_some_is_kept(ledger, key)

    with process(COMMAND, "run", "profiles") as child:
        said, _ = child.communicate(timeout=60)

    assert child.returncode == 0
    assert f"Going on with run {key}." in said
    await check_that_all_is_done_once(ledger, key, sim)


@pytest.mark.usefixtures("small_hands")
async def test_a_second_interrupt_ends_the_command_at_once(ledger: Book, simulate: Simulate):
    await a_client(ledger, "acme", handles(ITEMS))
    sim = simulate(LATENCY_MS)
    with process(COMMAND, "run", "profiles") as child:
        until(lambda: sim.calls("openai").total() > 0)
        child.send_signal(signal.SIGINT)
        await asyncio.sleep(0.2)
        child.send_signal(signal.SIGINT)
        assert ended_within(child, 1) == 130
