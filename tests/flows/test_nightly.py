"""The flow `nightly`: every client and item accounted for, whatever becomes of the others."""

from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from flows import client as client_module
from flows.nightly import nightly
from muster.driver import drive
from muster.ledger import Book
from muster.limits import Mode
from muster.settings import Settings
from tests.flows.seen import PROFILES, artifact, client_runs, message
from tests.flows.simulated import Simulator, a_client, handles, items_of, states

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(autouse=True)
def two_tries(clean_environ: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failing items fail soon."""
    monkeypatch.setenv("MUSTER_TRIES", "2")


async def a_mixed_night(book: Book) -> None:
    await a_client(book, "amber", handles(4), posts_target=6)
    await a_client(book, "beryl", handles(2), service_level=1)
    await a_client(book, "coral", handles(2), state="inactive")
    await a_client(book, "delta", ["sim-500-a", "sim-reject-b", "john"])
    await a_client(book, "ember", handles(1), posts_target=None)


async def test_every_client_is_accounted_for_with_the_reason_why_it_was_left_out(ledger: Book, sim: Simulator):
    await a_mixed_night(ledger)

    state = await nightly(key="n", return_state=True)
    account = await state.aresult()
    items = await items_of(ledger, "n")

    assert state.is_completed()
    assert (account["run"], account["state"], account["mode"]) == ("n", "done", "normal")
    assert account["clients"] == [
        {"id": "amber", "included": True, "reason": "prompts: no active prompts"},
        {
            "id": "beryl",
            "included": True,
            "reason": "posts: service level 1 is below 2; prompts: service level 1 is below 2",
        },
        {"id": "coral", "included": False, "reason": "client is inactive"},
        {"id": "delta", "included": True, "reason": "prompts: no active prompts"},
        {"id": "ember", "included": True, "reason": "posts: no posts target is set; prompts: no active prompts"},
    ]
    assert [(it["client"], it["workload"], it["total"], it["remaining"]) for it in account["batches"]] == [
        ("amber", "profiles", 4, 0),
        ("amber", "posts", 4, 0),
        ("beryl", "profiles", 2, 0),
        ("delta", "profiles", 3, 0),
        ("delta", "posts", 3, 0),
        ("ember", "profiles", 1, 0),
    ]
    assert called(items, "profiles") == sim.calls("openai")
    assert called(items, "posts") == sim.calls("apify")
    assert sim.answered("openai")["200"] == states(of(items, "profiles"))["succeeded"]
    assert {it["error_kind"] for it in of(items, "profiles") if it["state"] == "failed"} == {"transient", "rejected"}

    await artifacts_tell_it()
    assert {run.state_name for run in await client_runs("amber", "beryl", "delta", "ember")} == {"Completed"}
    assert not await client_runs("coral")


async def artifacts_tell_it() -> None:
    progress, report = await artifact("amber-profiles-progress"), await artifact("amber-profiles-report")
    failures, run_report = await artifact("delta-profiles-failures"), await artifact("muster-run")
    assert (progress.type, progress.data) == ("progress", 100.0)
    assert str(report.data).startswith("# amber: profiles, done")
    assert str(run_report.data).startswith("# Run n: done")
    assert "client is inactive" in str(run_report.data)
    rows: list[dict[str, Any]] = orjson.loads(str(failures.data))
    assert {(it["item"], it["cause"]) for it in rows} == {
        ("linkedin/sim-500-a", "transient"),
        ("linkedin/sim-reject-b", "rejected"),
    }


async def test_the_same_key_again_opens_nothing_and_calls_nothing(ledger: Book, sim: Simulator):
    await a_client(ledger, "acme", handles(2))
    await nightly(key="n")
    batches = [dict(it) for it in await ledger.readings.batches_of_key("n")]
    sim.reset()
    await a_client(ledger, "later", handles(2))

    state = await nightly(key="n", return_state=True)

    assert state.is_completed()
    assert [dict(it) for it in await ledger.readings.batches_of_key("n")] == batches
    assert not sim.calls("openai")
    assert not sim.calls("apify")


async def test_force_opens_a_second_run_beside_the_first(ledger: Book, sim: Simulator):
    await a_client(ledger, "acme", handles(1))
    await nightly(key="n")
    await a_client(ledger, "acme", handles(2))

    account = await nightly(key="n", force=True)

    assert account["run"] == "n#2"
    assert [it["total"] for it in account["batches"]] == [1, 1]  # what the first run did is not done again
    assert set(sim.calls("openai").values()) == {1}


async def test_a_run_without_a_key_has_the_local_day_as_its_key(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MUSTER_TIMEZONE", "Pacific/Kiritimati")

    before = await ledger.readings.now()
    account = await nightly()
    after = await ledger.readings.now()

    days = {moment.astimezone(ZoneInfo("Pacific/Kiritimati")).date() for moment in (before, after)}
    assert account["run"] in {f"nightly:{day}" for day in days}
    assert account["batches"] == []


async def test_testing_mode_as_a_parameter_keeps_every_limit(ledger: Book, sim: Simulator):
    for number in range(7):
        state = "inactive" if number == 1 else "active"
        await a_client(ledger, f"c{number}", handles(8), posts_target=20, max_posts_per_profile=9, state=state)

    account = await nightly(key="t", mode=Mode.TESTING)
    items = await items_of(ledger, "t")

    assert account["mode"] == "testing"
    assert [it["id"] for it in account["clients"] if it["included"]] == ["c0", "c1", "c2", "c3", "c4"]
    assert {it["reason"] for it in account["clients"] if not it["included"]} == {"testing mode takes 5 clients"}
    assert set(Counter((it["client"], it["workload"]) for it in items).values()) == {5}
    assert max(it["gained"] for it in account["batches"]) <= 5
    assert all(it["result"]["posts"] <= 2 for it in of(items, "posts") if it["state"] == "succeeded")
    assert called(items, "profiles") == sim.calls("openai")
    assert called(items, "posts") == sim.calls("apify")
    assert len(sim.calls("openai")) == 25


async def test_a_clients_failure_stops_no_other(ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch):
    for name in ("acme", "birch", "cobalt"):
        await a_client(ledger, name, handles(2))

    async def or_break(book: Book, settings: Settings, batch_id: int, run_lanes: Any) -> Any:
        if (await book.readings.batch(batch_id))["client_id"] == "birch":
            raise RuntimeError("the disk is on fire")
        return await drive(book, settings, batch_id, run_lanes)

    monkeypatch.setattr(client_module, "drive", or_break)

    state = await nightly(key="n", return_state=True, workloads=PROFILES)

    assert state.is_failed()
    assert "birch: the disk is on fire" in message(state)
    batches = await ledger.readings.batches_of_key("n")
    assert {it["client_id"]: it["state"] for it in batches} == {"acme": "done", "birch": "queued", "cobalt": "done"}


async def test_a_denied_key_fails_the_batch_with_its_reason_and_a_good_one_goes_on(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch
):
    await a_client(ledger, "denied", handles(6), posts_target=None)
    monkeypatch.setenv("OPENAI_API_KEY", "sim-denied")

    state = await nightly(key="n", return_state=True)
    (batch,) = await ledger.readings.batches_of_key("n")
    (run,) = await client_runs("denied")

    assert state.is_failed()
    assert (batch["state"], batch["remaining"]) == ("failed", 6)
    assert batch["reason"] == "openai answered 401: Incorrect API key provided. Is OPENAI_API_KEY right?"
    assert run.state is not None
    assert run.state.is_failed()
    assert batch["reason"] in message(run.state)
    assert "denied: " in message(state)
    assert (await ledger.runs.get(batch["run_id"]))["state"] == "failed"

    monkeypatch.setenv("OPENAI_API_KEY", "a-good-one")
    account = await nightly(key="n")

    assert account["state"] == "done"
    assert [(it["succeeded"], it["remaining"]) for it in account["batches"]] == [(6, 0)]
    assert states(await items_of(ledger, "n")) == {"succeeded": 6}


async def test_an_unknown_client_fails_the_flow_with_the_sentence(ledger: Book, sim: Simulator):
    state = await nightly(key="n", clients=["nobody"], return_state=True)

    assert state.is_failed()
    assert "There is no client 'nobody'; `muster clients list` shows them." in message(state)
    assert not await ledger.readings.batches_of_key("n")


def of(items: list[dict[str, Any]], workload: str) -> list[dict[str, Any]]:
    return [it for it in items if it["workload"] == workload]


def called(items: list[dict[str, Any]], workload: str) -> Counter[str]:
    """How often the upstream must have been asked about each profile."""
    return Counter({it["payload"]["url"]: it["tries"] for it in of(items, workload) if it["tries"]})
