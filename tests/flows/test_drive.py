"""The flows `drive` and `reconcile`: whatever is queued or left behind is worked by whoever is there."""

import asyncio
from typing import Any

import pytest

from flows import dispatch
from flows.drive import drive
from flows.nightly import nightly
from flows.reconcile import reconcile
from muster.ledger import Book
from muster.limits import Mode, Terms
from muster.planning import Wanted, open_run
from muster.settings import Settings
from tests.flows.seen import PROFILES, artifact, client_runs, message
from tests.flows.simulated import Simulator, a_client, handles

pytestmark = pytest.mark.usefixtures("prefect_api")
SOON_S = 1


async def a_queued_run(book: Book, key: str, *clients: str) -> int:
    for name in clients:
        await a_client(book, name, handles(6))
    return await open_run(book, Settings.read(), Wanted(key, "test", Mode.NORMAL, ("profiles",), clients))


async def batch_states(book: Book, key: str) -> set[str]:
    return {it["state"] for it in await book.readings.batches_of_key(key)}


async def left_behind(book: Book, key: str, client: str) -> int:
    """A batch whose driver died with items in flight, longer ago than the lease lasts."""
    await a_queued_run(book, key, client)
    (batch,) = await book.readings.batches_of_key(key)
    lease = await book.batches.take(batch["id"], "a driver that died")
    await book.lanes.enter(lease, "its lane")
    await book.lanes.claim(lease, "its lane", Terms(), {"openai": 4})
    await asyncio.sleep(SOON_S + 0.2)
    return int(batch["id"])


async def test_a_driver_works_every_queued_client_as_a_flow_run_of_its_own_and_reports_the_run(
    ledger: Book, sim: Simulator
):
    run_id = await a_queued_run(ledger, "q", "fern", "gorse")

    state = await drive(return_state=True)

    assert state.is_completed()
    assert message(state) == "Worked 2 clients."
    assert await batch_states(ledger, "q") == {"done"}
    assert (await ledger.runs.get(run_id))["state"] == "done"
    assert {run.state_name for run in await client_runs("fern", "gorse")} == {"Completed"}
    assert str((await artifact("muster-run")).data).startswith("# Run q: done")
    assert await ledger.drivers.alive() == []


async def test_with_nothing_queued_a_driver_says_so(ledger: Book, sim: Simulator):
    assert message(await drive(return_state=True)) == "Nothing was queued."


async def test_where_dispatch_is_a_deployment_the_night_is_queued_and_drivers_are_started(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch
):
    started: list[str] = []

    async def noted(name: str, **_said: Any) -> None:
        started.append(name)

    monkeypatch.setattr(dispatch, "arun_deployment", noted)
    monkeypatch.setenv("MUSTER_DISPATCH", "deployment")
    monkeypatch.setenv("MUSTER_DRIVERS", "3")
    await a_client(ledger, "hazel", handles(3))

    state = await nightly(key="d", workloads=PROFILES, return_state=True)

    assert message(state) == "1 batch, 3 items: nothing to do; 3 drivers started"
    assert started == ["drive/drive"] * 3
    assert await batch_states(ledger, "d") == {"queued"}


async def test_a_dead_drivers_batch_is_taken_over_and_worked_to_its_end(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MUSTER_STALE_SECONDS", str(SOON_S))
    batch_id = await left_behind(ledger, "r", "iris")

    state = await reconcile(return_state=True)

    assert state.is_completed()
    assert "iris profiles: take over, left by a driver that died, silent for" in message(state)
    batch = await ledger.readings.batch(batch_id)
    assert (batch["state"], batch["succeeded"], batch["driver_runs"]) == ("done", 6, 2)


async def test_lanes_that_are_processes_work_a_batch_to_its_end(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MUSTER_PROCESSES_FROM", "1")
    await a_queued_run(ledger, "p", "kerria")

    state = await drive(return_state=True)

    assert state.is_completed()
    (batch,) = await ledger.readings.batches_of_key("p")
    assert (batch["state"], batch["succeeded"], batch["driver_runs"]) == ("done", 6, 1)
    assert not [it for it in await ledger.readings.events(batch["id"]) if it["kind"].startswith("lane.")]
    assert sim.calls("openai").total() == 6


async def test_a_healthy_batch_is_left_alone(ledger: Book, sim: Simulator):
    await a_queued_run(ledger, "h", "juniper")
    (batch,) = await ledger.readings.batches_of_key("h")
    await ledger.batches.take(batch["id"], "a slow driver")

    state = await reconcile(return_state=True)

    assert message(state) == "1 open batch, all healthy"
    assert (await ledger.readings.batch(batch["id"]))["driver"] == "a slow driver"
