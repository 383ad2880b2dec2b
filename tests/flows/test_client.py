"""The flow `client`: alone, and several at once with beats that never stop."""

import time
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from flows.client import client
from flows.nightly import nightly
from muster.ledger import Book
from muster.ledger.batches import Batches
from tests.flows.conftest import Simulate
from tests.flows.seen import PROFILES, artifact, message
from tests.flows.simulated import Simulator, a_client, handles, items_of, states

pytestmark = pytest.mark.usefixtures("prefect_api")


async def test_one_client_alone_has_a_run_of_its_own(ledger: Book, sim: Simulator):
    await a_client(ledger, "solo", handles(3))
    await a_client(ledger, "other", handles(3))

    state = await client(client="solo", workloads=PROFILES, return_state=True)

    assert state.is_completed()
    (batch,) = await ledger.readings.batches_since(datetime.fromtimestamp(0, UTC))
    assert batch["run_key"].startswith("client:solo:")
    assert (batch["client_id"], batch["workload"]) == ("solo", "profiles")
    assert (batch["state"], batch["succeeded"]) == ("done", 3)
    assert (await ledger.runs.get(batch["run_id"]))["state"] == "done"
    assert len(sim.calls("openai")) == 3
    assert (await artifact("solo-profiles-progress")).data == 100.0


async def test_an_unknown_client_fails_with_the_sentence(ledger: Book, sim: Simulator):
    state = await client(client="nobody", return_state=True)

    assert state.is_failed()
    assert "There is no client 'nobody'; `muster clients list` shows them." in message(state)


async def test_clients_beat_all_the_time_while_their_lanes_work_at_once(
    ledger: Book, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
):
    names = ("acme", "birch", "cobalt")
    for name in names:
        await a_client(ledger, name, handles(48))
    monkeypatch.setenv("MUSTER_LANES", "2")
    monkeypatch.setenv("MUSTER_IN_FLIGHT", "2")
    sim = simulate(latency_ms=1000)
    signs = record_signs_of_life(monkeypatch)

    await nightly(key="n", workloads=PROFILES)

    assert states(await items_of(ledger, "n")) == {"succeeded": 3 * 48}
    assert len(signs) == len(names)
    for moments in signs.values():
        assert moments[-1] - moments[0] > 10  # long enough to prove anything
        assert max(after - before for before, after in pairwise(moments)) < 10
    one_lane_each = 2 * len(names)
    assert one_lane_each < sim.most_in_flight("openai") <= 2 * one_lane_each


def record_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[float]]:
    """When each batch was taken, beaten for and given up by its driver."""
    moments: dict[int, list[float]] = defaultdict(list)
    take, beat, release = Batches.take, Batches.beat, Batches.release

    async def taken(self: Batches, batch_id: int, driver: str) -> Any:
        lease = await take(self, batch_id, driver)
        moments[batch_id].append(time.monotonic())
        return lease

    async def beaten(self: Batches, lease: Any) -> Any:
        standing = await beat(self, lease)
        moments[lease.batch_id].append(time.monotonic())
        return standing

    async def released(self: Batches, lease: Any, reason: str, **said: bool) -> None:
        moments[lease.batch_id].append(time.monotonic())
        await release(self, lease, reason, **said)

    monkeypatch.setattr(Batches, "take", taken)
    monkeypatch.setattr(Batches, "beat", beaten)
    monkeypatch.setattr(Batches, "release", released)
    return moments
