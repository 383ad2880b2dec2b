"""A breaker opens after failures in a row, whoever met them, and closes with the first answer."""

from datetime import UTC, datetime, timedelta

from muster.breaker import COOLDOWN_S, FAILURES, LONGEST_S, Breaker, Heard
from muster.states import BreakerState

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def told(
    breaker: Breaker, *, lane: str = "one", answered: bool = False, failures: int = 0, later: float = 0
) -> Breaker:
    return breaker.after(lane, Heard(answered, failures), NOW + timedelta(seconds=later), probe_lives=True)


def opened() -> Breaker:
    return told(Breaker(), failures=FAILURES)


def test_failures_of_all_lanes_add_up_and_an_answer_wipes_them_out():
    some = told(told(Breaker(), failures=4), lane="two", failures=FAILURES - 5)
    assert (some.state, some.failures) == (BreakerState.CLOSED, FAILURES - 1)

    assert told(some, answered=True, failures=2).failures == 2
    assert told(some, failures=1).state is BreakerState.OPEN


def test_one_lane_probes_when_its_time_has_come_and_an_answer_closes_it():
    breaker = opened()
    assert told(breaker, later=COOLDOWN_S - 0.1).state is BreakerState.OPEN

    probing = told(breaker, later=COOLDOWN_S)

    assert (probing.state, probing.probe) == (BreakerState.HALF_OPEN, "one")
    assert told(probing, lane="two", later=6).probe == "one"
    assert told(probing, answered=True, later=6) == Breaker()


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_five_minutes():
    breaker, waits = opened(), []
    for _ in range(9):
        assert breaker.open_until is not None
        waits.append((breaker.open_until - NOW).total_seconds())
        probing = breaker.after("one", Heard(), breaker.open_until, probe_lives=True)
        breaker = probing.after("one", Heard(failures=1), NOW, probe_lives=True)

    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == LONGEST_S


def test_another_lane_probes_where_the_first_has_died():
    probing = told(opened(), later=COOLDOWN_S)

    taken = probing.after("two", Heard(), NOW, probe_lives=False)

    assert (taken.state, taken.probe) == (BreakerState.HALF_OPEN, "two")


def test_what_others_fail_at_while_one_probes_changes_nothing():
    probing = told(opened(), later=COOLDOWN_S)

    assert told(probing, lane="two", failures=3, later=6) == probing
