"""The same crowd in trouble: answers that come late, limits that change, an upstream that fails, a clock set back."""

import random
from datetime import timedelta
from typing import Any

import pytest

from muster.allotment import Allotment, Grant, Report
from muster.ledger.pacing import pace_now, told
from muster.ledger.upstreams import _moved
from muster.outcomes import ErrorKind, Failed, Retry
from muster.shares import BEAT_S, HORIZON_S
from muster.states import BreakerState
from muster.upstreams.hints import Bucket, Room
from tests.muster.test_crowd import START, Crowd, short


def crowd(seed: int = 1, lanes: int = 8, **limits: Any) -> Crowd:
    there = Crowd(random.Random(seed), short, 5.0, limits)
    for _ in range(lanes):
        there.join()
    return there


@pytest.mark.parametrize("answer_s", [0.05, 0.3])
def test_an_answer_that_comes_late_passes_no_limit(answer_s: float):
    for seed in range(6):
        there = crowd(seed, 6, concurrency=20)
        there.answer_s = answer_s
        there.at(5, there.churn, 5.0, 6)
        there.run(300)
        assert there.most_in_flight <= 20


def test_a_lane_begins_no_more_than_it_reported_until_it_hears():
    lane = Allotment(20, 5.0)
    lane.take(Grant(allotted=20), 0.0, 0.0)
    for _ in range(2):
        lane.begin(0.1)
    lane.report(0.2, 3, None)

    assert [lane.begin(0.3) for _ in range(3) if not lane.wait(0.3)] == [None] * 3
    assert lane.wait(0.3) == BEAT_S
    lane.take(Grant(allotted=20), 0.2, 0.4)
    assert lane.wait(0.4) == 0


def test_what_is_claimed_before_the_answer_comes_waits_for_it():
    lane = Allotment(20, 5.0)
    lane.take(Grant(allotted=20), 0.0, 0.0)
    lane.report(0.2, 0, None)

    assert lane.wait(0.3) == BEAT_S  # soon, so that it is not given back


def test_without_a_limit_an_allotment_expires_all_the_same():
    lane = Allotment(20, 5.0)
    lane.take(Grant(allotted=None), 0.0, 0.0)

    assert lane.wait(1.0) == 0
    assert lane.wait(3600.0) > 0
    assert lane.claimable(3600.0, 0.5, 0) == 0


@pytest.mark.parametrize(("per_minute", "every_s"), [(600, 30), (600, 3), (60, 30), (6, 5)])
def test_setting_a_limit_to_what_it_is_gives_no_slot_twice(per_minute: int, every_s: float):
    there = crowd(per_minute=float(per_minute), concurrency=64)

    def set_limits() -> None:
        now = START + timedelta(seconds=there.t)
        limits = {"concurrency": 64, "per_minute": float(per_minute)}
        there.upstream = {**there.upstream, **limits, **_moved(there.upstream, limits, now)}
        there.at(there.t + every_s, set_limits)

    there.at(60, set_limits)
    there.run(400)

    assert there.most_in_a_minute() <= per_minute


@pytest.mark.parametrize(("old", "new"), [(6.0, 600.0), (1.0, None)])
def test_a_higher_rate_is_in_force_within_two_beats(old: float, new: float | None):
    there = crowd(per_minute=old)
    there.run(120)
    now = START + timedelta(seconds=there.t)
    there.upstream |= {**_moved(there.upstream, {"per_minute": new}, now), "per_minute": new}
    before = len(there.arrivals)
    there.run(120 + 2 * BEAT_S + HORIZON_S)

    assert len(there.arrivals) - before >= 10


@pytest.mark.parametrize("new", [1_000_000.0, None])
def test_a_changed_token_limit_is_in_force_at_once(new: float | None):
    there = crowd(tokens_per_minute=100.0, per_minute=600.0)
    there.run(60)
    now = START + timedelta(seconds=there.t)
    limits = {"tokens_per_minute": new}
    upstream = {**there.upstream, **_moved(there.upstream, limits, now), **limits}
    pace = pace_now(upstream, now)

    assert pace is not None
    assert (pace.start - now).total_seconds() <= HORIZON_S + 1


def test_an_estimate_beyond_the_whole_token_limit_waits_for_a_minute_and_not_for_ever():
    there = crowd(tokens_per_minute=2.0, lanes=1)
    there.run(200)

    assert len(there.arrivals) >= 3


def test_one_lane_probes_with_one_call_when_the_breakers_time_has_come():
    there = crowd(lanes=6, concurrency=60)
    there.outcome = lambda: Retry(kind=ErrorKind.TRANSIENT, error="down")
    there.run(20)
    assert there.upstream["breaker"] != BreakerState.CLOSED
    calls, openings = len(there.arrivals), there.upstream["openings"]
    there.run(400)

    probes, opened = len(there.arrivals) - calls, there.upstream["openings"] - openings
    assert opened > 2
    assert opened - probes in {0, 1}  # the first one's probe may have been under way before


def test_an_upstream_that_is_well_again_is_called_by_all_soon():
    there = crowd(lanes=6, concurrency=20)
    there.outcome = lambda: Retry(kind=ErrorKind.TRANSIENT, error="down")
    there.run(20)
    there.outcome = lambda: Failed(kind=ErrorKind.REJECTED, error="no")
    there.run(60)
    calls = [lane.calls for lane in there.lanes.values()]
    there.run(70)

    assert there.upstream["breaker"] == BreakerState.CLOSED
    assert all(after.calls > before for after, before in zip(there.lanes.values(), calls, strict=True))


def test_a_clock_that_is_set_back_stops_nobody():
    there = crowd(per_minute=600.0, concurrency=20)
    there.run(60)
    later = START + timedelta(seconds=there.t) - timedelta(hours=1)
    pace = pace_now(there.upstream, later)

    assert pace is not None
    assert (pace.start - later).total_seconds() <= HORIZON_S + 1


@pytest.mark.parametrize("tokens", [10**9, 10**13, 10**18])
def test_a_vendors_slip_in_counting_tokens_holds_nobody_up_for_long(tokens: int):
    there = crowd(lanes=1, tokens_per_minute=200_000.0)
    there.run(5)
    now = START + timedelta(seconds=there.t)
    report = Report(began=1, tokens_off=float(tokens), tokens_each=float(tokens))
    pace = pace_now(told(there.upstream, report, 1, now), now)

    assert pace is not None
    assert (pace.start - now).total_seconds() <= 600
    assert pace.every_s < 62


def test_a_day_of_waiting_is_asked_of_an_item_and_not_of_everybody():
    there = crowd(lanes=1)
    there.run(2)
    now = START + timedelta(seconds=there.t)
    upstream = told(there.upstream, Report(throttled_s=86_400.0), 1, now)

    assert (upstream["held_until"] - now).total_seconds() == 600


def test_a_slow_pace_ends_when_what_was_said_of_the_room_does():
    there = crowd(lanes=1, per_minute=600.0)
    there.run(5)
    now = START + timedelta(seconds=there.t)
    room = Room(Bucket(per_minute=5, left=0.0), None, 1.0)
    there.upstream = told(there.upstream, Report(room=room), 1, now)
    there.run(there.t + 1.5)
    before = len(there.arrivals)
    there.run(there.t + 8)

    assert len(there.arrivals) - before > 20
