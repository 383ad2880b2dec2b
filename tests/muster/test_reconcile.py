"""What is judged of a batch, and what is done about it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.ledger import Book
from muster.ledger.mending import CALM, Seen, Verdict
from muster.ledger.runs import NewRun
from muster.limits import Mode, Terms
from muster.planning import Wanted, open_run
from muster.reconcile import FRUITLESS_DRIVERS, judge, look, reconcile, wants_driver
from muster.selection import Decision
from muster.settings import Settings
from muster.states import OPEN_BATCHES, BatchState, RunState
from tests.conftest import Clock
from tests.drain import World
from tests.factories import a_batch, a_client, a_lease

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
HEALTHY = Seen(
    id=7,
    run_id=1,
    client_id="acme",
    workload="profiles",
    state=BatchState.IN_PROGRESS,
    remaining=9,
    held=False,
    driver="host:1",
    beat_at=NOW - timedelta(seconds=3),
    created_at=NOW - timedelta(hours=1),
    driver_runs=0,
    deadline_at=NOW + timedelta(hours=1),
    fruitless=0,
    silent_lanes=0,
    waits_for=None,
    has_driver=False,
    stale_after=timedelta(seconds=20),
)
SILENT = {"beat_at": NOW - timedelta(seconds=31)}
QUEUED = {"state": BatchState.QUEUED, "driver": None, "beat_at": None}


@pytest.mark.parametrize(
    ("seen", "verdict", "why"),
    [
        ({}, Verdict.HEALTHY, "worked by host:1, silent for 3 s"),
        (SILENT, Verdict.TAKE_OVER, "left by host:1, silent for 31 s"),
        ({"beat_at": NOW + timedelta(minutes=5)}, Verdict.TAKE_OVER, "last heard of 300 s in the future"),
        ({"beat_at": NOW + timedelta(seconds=2)}, Verdict.HEALTHY, "worked by host:1"),
        ({"beat_at": None, "driver": None}, Verdict.TAKE_OVER, "left by its driver, never heard of"),
        ({"remaining": 0}, Verdict.CLOSE, "every item is closed"),
        ({"deadline_at": NOW}, Verdict.FAIL, "deadline: not over by 2026-11-23 06:00 UTC; `muster resume 7` goes on"),
        ({**SILENT, "fruitless": FRUITLESS_DRIVERS}, Verdict.FAIL, "10 drivers in a row ended before an item"),
        ({"fruitless": FRUITLESS_DRIVERS}, Verdict.HEALTHY, "worked by host:1"),
        (QUEUED, Verdict.START, "no driver is there to take it"),
        ({**QUEUED, "has_driver": True}, Verdict.HEALTHY, "in line, a driver is there"),
        ({**QUEUED, "waits_for": 5}, Verdict.HEALTHY, "waits for batch 5 of the same client and workload"),
        ({**QUEUED, "created_at": NOW - timedelta(seconds=5)}, Verdict.HEALTHY, "opened a moment ago"),
        ({**QUEUED, "created_at": NOW - timedelta(seconds=5), "driver_runs": 1}, Verdict.START, "no driver"),
        ({**QUEUED, "deadline_at": NOW - timedelta(seconds=1)}, Verdict.FAIL, "deadline"),
        ({**QUEUED, "held": True, "deadline_at": NOW}, Verdict.AT_REST, "it is held until somebody starts it"),
        ({**QUEUED, "fruitless": FRUITLESS_DRIVERS}, Verdict.FAIL, "10 drivers in a row"),
        ({"state": BatchState.PAUSED}, Verdict.AT_REST, "it is paused"),
        ({"state": BatchState.PAUSED, **SILENT}, Verdict.CLEAR, "it is paused, and its driver or lanes fell silent"),
        ({"state": BatchState.FAILED, "driver": None, "silent_lanes": 2}, Verdict.CLEAR, "it is failed"),
        ({"state": BatchState.DONE, "driver": None, "deadline_at": NOW}, Verdict.AT_REST, "it is done; its last"),
    ],
)
def test_each_batch_has_its_verdict_and_its_reason(seen: dict[str, Any], verdict: Verdict, why: str):
    judgement = judge(replace(HEALTHY, **seen), NOW)

    assert judgement.verdict is verdict
    assert why in judgement.reason


@given(
    st.sampled_from(sorted(OPEN_BATCHES)),
    st.integers(1, 10**6),
    st.floats(0, 19.9),
    st.integers(0, 50),
    st.booleans(),
    st.floats(1, 10**6),
)
def test_a_batch_whose_driver_beats_is_left_alone_however_slow_it_is(
    state: BatchState, remaining: int, silent_s: float, fruitless: int, has_driver: bool, age_s: float
):
    seen = replace(
        HEALTHY,
        state=state if state is not BatchState.QUEUED else BatchState.IN_PROGRESS,
        remaining=remaining,
        beat_at=NOW - timedelta(seconds=silent_s),
        fruitless=fruitless,
        has_driver=has_driver,
        created_at=NOW - timedelta(seconds=age_s),
    )

    assert judge(seen, NOW).verdict in CALM


def test_a_driver_that_missed_beats_is_looked_at_again_when_it_would_be_dead():
    seen = replace(HEALTHY, beat_at=NOW - timedelta(seconds=14))

    assert judge(HEALTHY, NOW).look_again_s is None
    assert judge(seen, NOW).look_again_s == 6


async def verdicts(book: Book) -> list[Verdict]:
    return [it.verdict for it in await reconcile(book, Settings())]


async def test_a_look_says_what_would_be_done_and_changes_nothing(book: Book, clock: Clock):
    lease = await a_lease(book, 3)
    await book.lanes.claim(lease, "one", Terms(), {"web": 2})
    clock.pass_(31)
    before = await book.readings.batch(lease.batch_id)

    (finding,) = await look(book)

    assert (finding.batch_id, finding.name) == (lease.batch_id, "acme numbers")
    assert (finding.verdict, finding.reason) == (Verdict.TAKE_OVER, "left by me, silent for 31 s")
    assert await book.readings.batch(lease.batch_id) == before
    assert wants_driver([finding])


async def test_a_dead_drivers_batch_is_queued_again_with_what_it_had_in_flight(book: Book, clock: Clock):
    lease = await a_lease(book, 3)
    await book.lanes.claim(lease, "one", Terms(), {"web": 2})
    clock.pass_(31)

    assert await verdicts(book) == [Verdict.TAKE_OVER]

    batch = await book.readings.batch(lease.batch_id)
    assert (batch["state"], batch["reason"]) == ("queued", "left by me, silent for 31 s; 2 items given back")
    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 3}


async def test_a_batch_that_came_to_life_again_is_left_alone(book: Book, clock: Clock):
    lease = await a_lease(book, 3)
    clock.pass_(31)
    (finding,) = await look(book)
    await book.batches.beat(lease)

    mended = await book.mending.mend(lease.batch_id, judge)

    assert (finding.verdict, mended.verdict) == (Verdict.TAKE_OVER, Verdict.HEALTHY)
    assert (await book.readings.batch(lease.batch_id))["epoch"] == lease.epoch


async def test_a_batch_past_its_deadline_fails_and_its_run_with_it(book: Book, clock: Clock):
    batch_id = await a_batch(book, 3)
    await book.runs.planned(1)
    clock.pass_(12 * 3600)

    assert await verdicts(book) == [Verdict.FAIL]

    assert (await book.readings.batch(batch_id))["state"] == BatchState.FAILED
    run = await book.runs.get(1)
    assert run["state"] == RunState.FAILED
    assert "deadline" in run["error"]


async def test_what_dead_lanes_left_of_a_paused_batch_is_cleared_away(book: Book, clock: Clock):
    lease = await a_lease(book, 3)
    await book.lanes.claim(lease, "one", Terms(), {"web": 2})
    await book.orders.pause(lease.batch_id)
    clock.pass_(31)

    assert await verdicts(book) == [Verdict.CLEAR]

    assert await book.readings.count_by_state(lease.batch_id) == {"pending": 3}
    assert await verdicts(book) == [Verdict.AT_REST]


async def test_a_run_whose_opening_was_cut_off_gets_the_batches_that_are_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    await world.client("acme", ["ann", "bob"])
    monkeypatch.setattr("muster.planning.open_batches", _cut_off)
    with pytest.raises(KeyError):
        await open_run(world.book, world.settings, Wanted("night", "test", Mode.NORMAL, ("profiles",)))
    monkeypatch.undo()
    monkeypatch.setattr("muster.reconcile.LOST", timedelta(0))

    (finding,) = await reconcile(world.book, world.settings)

    assert (finding.name, finding.verdict) == ("night", Verdict.START)
    (batch,) = await world.book.readings.batches_of_key("night")
    assert (batch["state"], batch["total"]) == ("queued", 2)


async def _cut_off(*_: Any) -> None:
    raise KeyError("the process was killed")


async def test_what_cannot_be_mended_keeps_nobody_from_mending_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("muster.reconcile.LOST", timedelta(0))
    lost = NewRun("of a newer version", "nightly", Mode.NORMAL, {})
    await a_client(world.book)
    await world.book.runs.open(lost, [Decision("acme", True, ("unheard of",), None)])
    over, _ = await world.book.runs.open(NewRun("over", "nightly", Mode.NORMAL, {}), [])
    await world.book.runs.planned(over)

    stuck, closed = await reconcile(world.book, world.settings)

    assert stuck.verdict is Verdict.STUCK
    assert "unheard of" in stuck.reason
    assert closed.verdict is Verdict.CLOSE
    assert (await world.book.runs.get(over))["state"] == RunState.DONE
