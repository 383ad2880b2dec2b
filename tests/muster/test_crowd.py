"""Many lanes of one upstream in simulated time: the rule itself and the lanes' own clocks, hours in a second.

Lanes join, leave, die and freeze with calls in flight; what the upstream sees is counted.
"""

import heapq
import itertools
import random
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muster.allotment import Allotment, Grant, Slot
from muster.ledger.allotments import NEW_UPSTREAM
from muster.ledger.granting import FRESH, charge, grant_to
from muster.ledger.live import UPSTREAM
from muster.outcomes import Outcome, Succeeded
from muster.shares import BEAT_S, jain

START = datetime(2026, 11, 23, tzinfo=UTC)
BACKLOG = 1000
WAY_S = 0.05  # a call is under way so long before it counts


@dataclass
class Lane:
    name: str
    client: str
    allotment: Allotment
    weight: float = 1.0
    calls: int = 0
    is_dead: bool = False
    is_frozen: bool = False
    is_leaving: bool = False
    born: float = 0.0
    first_call: float | None = None

    @property
    def works(self) -> bool:
        return not (self.is_dead or self.is_frozen)


@dataclass
class Crowd:
    """A ledger, an upstream and lanes, in one simulated time."""

    rng: random.Random
    latency: Callable[[random.Random], float]
    longest_s: float
    limits: dict[str, Any]
    most: int = 20
    answer_s: float = 0.0  # a lane hears what it was granted up to so much later
    outcome: Callable[[], Outcome] = Succeeded
    t: float = 0.0
    lanes: dict[str, Lane] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_flight: int = 0
    most_in_flight: int = 0
    busy: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    _queue: list[Any] = field(default_factory=list)
    _count: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        columns = {it.name: None for it in UPSTREAM.c}
        self.upstream: dict[str, Any] = {**columns, **NEW_UPSTREAM, "name": "web", **self.limits}

    def at(self, t: float, what: Callable[..., None], *words: Any) -> None:
        heapq.heappush(self._queue, (t, next(self._count), what, words))

    def join(self, client: str | None = None, weight: float = 1.0) -> Lane:
        name = f"lane-{next(self._count)}"
        lane = Lane(name, client or name, Allotment(self.most, self.longest_s), weight, born=self.t)
        self.lanes[name] = lane
        self.at(self.t + self.rng.uniform(0, 0.1), self.beat, lane)
        return lane

    def run(self, until: float) -> None:
        while self._queue and self._queue[0][0] <= until:
            t, _, what, words = heapq.heappop(self._queue)
            self.busy += self.in_flight * (t - self.t)
            self.t = t
            what(*words)

    def beat(self, lane: Lane) -> None:
        if lane.is_dead:
            return
        if lane.is_frozen:
            self.at(self.t + 0.3, self.beat, lane)
            return
        now = START + timedelta(seconds=self.t)
        self._settle(now)
        report = lane.allotment.report(self.t, 0, None)
        who = {"id": lane.name, "batch_id": 1, "client_id": lane.client, "weight": lane.weight, "served": 0}
        due = 0 if lane.is_leaving else BACKLOG
        grant, row, self.upstream = grant_to(who, report, due, self.upstream, list(self.rows.values()), now)
        self.rows[lane.name] = row
        self.at(self.t + self.rng.uniform(0, self.answer_s), self.hear_grant, lane, grant, self.t - 0.01)

    def hear_grant(self, lane: Lane, grant: Grant, asked_at: float) -> None:
        """The ledger's answer, some time after it was written."""
        if lane.is_dead:
            return
        if lane.is_frozen:
            self.at(self.t + 0.3, self.hear_grant, lane, grant, asked_at)
            return
        lane.allotment.take(grant, asked_at, self.t + 0.01)
        if lane.is_leaving and not lane.allotment.held:
            del self.rows[lane.name]
            lane.is_dead = True
            return
        self.look(lane)
        self.at(self.t + BEAT_S * self.rng.uniform(0.9, 1.1), self.beat, lane)

    def _settle(self, now: datetime) -> None:
        """What the ledger does with rows that expired, and with those of lanes that have just fallen silent."""
        for name, row in list(self.rows.items()):
            if row["expires_at"] < now:
                del self.rows[name]
            elif now - row["beat_at"] > FRESH and row["allotted"] != 0:
                held = min(charge(row), self.lanes[name].allotment.held)
                row |= {"held": held, "pledged": 0, "allotted": 0, "wanted": 0, "slots": 0, "slots_wanted": 0}

    def look(self, lane: Lane) -> None:
        """Begin what may begin; look again when the next send slot comes."""
        while lane.works and not lane.is_leaving:
            wait = lane.allotment.wait(self.t)
            if wait:
                if wait < BEAT_S:
                    self.at(self.t + wait + self.rng.uniform(0, 0.1), self.look, lane)
                return
            slot = lane.allotment.begin(self.t)
            lane.calls += 1
            lane.first_call = self.t if lane.first_call is None else lane.first_call
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.arrivals.append(self.t + self.rng.uniform(0, WAY_S))
            self.at(self.t + min(self.longest_s, self.latency(self.rng)), self.end, lane, slot)

    def end(self, lane: Lane, slot: Slot | None) -> None:
        self.in_flight -= 1
        if lane.is_frozen:  # it hears of it when it wakes; the upstream is done
            self.at(self.t + 0.3, self._hear, lane, slot)
        else:
            lane.allotment.end(slot, self.outcome())
            self.look(lane)

    def _hear(self, lane: Lane, slot: Slot | None) -> None:
        if lane.is_frozen:
            self.at(self.t + 0.3, self._hear, lane, slot)
        else:
            lane.allotment.end(slot, Succeeded())
            self.look(lane)

    def churn(self, every_s: float, about: int) -> None:
        """Now and then a lane joins, leaves, dies or freezes."""
        there = [it for it in self.lanes.values() if it.works and not it.is_leaving]
        fate = self.rng.random()
        if fate < 0.4 and len(there) < 1.5 * about:
            self.join()
        elif fate < 0.6 and len(there) > about // 2:
            self.rng.choice(there).is_leaving = True
        elif fate < 0.75 and len(there) > about // 2:
            self.rng.choice(there).is_dead = True
        elif there:
            lane = self.rng.choice(there)
            lane.is_frozen = True
            self.at(self.t + self.rng.uniform(2, 40), self._wake, lane)
        self.at(self.t + self.rng.expovariate(1 / every_s), self.churn, every_s, about)

    def _wake(self, lane: Lane) -> None:
        lane.is_frozen = False
        self.look(lane)

    def most_in_a_minute(self) -> int:
        window, most = deque[float](), 0
        for arrival in sorted(self.arrivals):
            window.append(arrival)
            while window[0] <= arrival - 60:
                window.popleft()
            most = max(most, len(window))
        return most


def short(rng: random.Random) -> float:
    return rng.uniform(0.2, 1.0)


def long(rng: random.Random) -> float:
    return rng.uniform(5, 120)


@pytest.mark.parametrize("churns", [False, True])
@pytest.mark.parametrize(
    ("latency", "longest_s", "lanes", "used"),
    [(short, 5.0, 10, 0.85), (long, 125.0, 10, 0.9), (short, 5.0, 30, 0.8), (long, 125.0, 30, 0.9)],
    ids=["short", "long", "short, more lanes than slots", "long, more lanes than slots"],
)
def test_no_more_calls_are_in_flight_than_allowed_and_hardly_fewer(
    latency: Callable[[random.Random], float], longest_s: float, lanes: int, used: float, churns: bool
):
    shares = []
    for seed in range(2):
        crowd = Crowd(random.Random(seed), latency, longest_s, {"concurrency": 20})
        for _ in range(lanes):
            crowd.join()
        if churns:
            crowd.at(5, crowd.churn, 15.0, lanes)
        crowd.run(600)
        assert crowd.most_in_flight <= 20
        shares.append(crowd.busy / crowd.t / 20)

    assert statistics.mean(shares) >= (used - 0.1 if churns else used), shares


@pytest.mark.parametrize(
    ("per_minute", "lanes", "churns", "used"),
    [
        (600, 10, False, 0.97), (600, 10, True, 0.95),
        (60, 10, False, 0.97), (60, 10, True, 0.95),
        (60, 3, False, 0.97), (60, 3, True, 0.75),  # at times all of the three are frozen
        (6, 4, False, 0.94), (6, 4, True, 0.75),
    ],
)  # fmt: skip
def test_no_minute_sees_more_calls_than_allowed_and_hardly_fewer(
    per_minute: int, lanes: int, churns: bool, used: float
):
    shares = []
    for seed in range(4):
        crowd = Crowd(random.Random(seed), short, 5.0, {"per_minute": float(per_minute)})
        for _ in range(lanes):
            crowd.join()
        if churns:
            crowd.at(5, crowd.churn, 10.0, lanes)
        crowd.run(600)
        assert crowd.most_in_a_minute() <= per_minute
        later = [it for it in crowd.arrivals if it > 60]
        shares.append(len(later) / (per_minute * 9))

    assert statistics.mean(shares) >= used, shares


def test_lanes_that_stay_get_the_same():
    crowd = Crowd(random.Random(1), short, 5.0, {"concurrency": 20, "per_minute": 600.0})
    lanes = [crowd.join() for _ in range(8)]
    crowd.run(600)

    assert jain([it.calls for it in lanes]) > 0.98


def test_a_client_is_served_by_weight_and_not_by_lanes():
    crowd = Crowd(random.Random(1), short, 5.0, {"concurrency": 20})
    big = [crowd.join("big") for _ in range(6)]
    light, heavy = crowd.join("light"), crowd.join("heavy", weight=2.0)
    crowd.run(600)

    assert sum(it.calls for it in big) == pytest.approx(light.calls, rel=0.15)
    assert heavy.calls == pytest.approx(2 * light.calls, rel=0.15)


def test_a_newcomer_waits_no_longer_than_calls_take():
    crowd = Crowd(random.Random(1), long, 125.0, {"concurrency": 20})
    for _ in range(10):
        crowd.join()
    crowd.run(300)
    newcomer = crowd.join()
    crowd.run(500)

    assert newcomer.first_call is not None
    assert newcomer.first_call - newcomer.born < 125


def test_what_a_frozen_lane_does_not_use_is_free_within_six_seconds_and_what_it_uses_only_after_its_time_out():
    crowd = Crowd(random.Random(1), lambda _: 60.0, 60.0, {"concurrency": 20})
    frozen = crowd.join()
    crowd.run(3)
    assert frozen.allotment.held == 20
    frozen.is_frozen = True
    other = crowd.join()
    crowd.run(60 + 3 + 4)

    assert other.calls == 0  # the calls of the frozen one may still be running
    crowd.run(60 + 3 + 15)
    assert other.calls > 0
    assert crowd.most_in_flight <= 20
