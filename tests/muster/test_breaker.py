"""A breaker opens after failures in a row, whoever met them, and closes with the first answer."""

from datetime import UTC, datetime, timedelta

from muster.breaker import COOLDOWN_S, FAILURES, LONGEST_S, Breaker, Heard
from muster.states import BreakerState

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def told(
    breaker: Breaker,
    *,
    lane: str = "one",
    answered: bool = False,
    failures: int = 0,
    later: float = 0,
    probe_lives: bool = True,
    can_probe: bool = True,
    is_calling: bool | None = None,
) -> Breaker:
    """A lane that holds the probe is making it, unless it is said otherwise."""
    now = NOW + timedelta(seconds=later)
    calls = lane == breaker.probe if is_calling is None else is_calling
    heard = Heard(answered, failures)
    return breaker.after(lane, heard, now, probe_lives=probe_lives, can_probe=can_probe, is_calling=calls)


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
        probing = told(breaker, later=waits[-1])
        breaker = told(probing, failures=1)

    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == LONGEST_S


def test_another_lane_probes_where_the_first_has_died():
    probing = told(opened(), later=COOLDOWN_S)

    taken = told(probing, lane="two", probe_lives=False)

    assert (taken.state, taken.probe) == (BreakerState.HALF_OPEN, "two")


def test_what_others_fail_at_while_one_probes_changes_nothing():
    probing = told(opened(), later=COOLDOWN_S)

    assert told(probing, lane="two", failures=3, later=6) == probing


def test_only_a_lane_with_a_call_to_make_probes():
    assert told(opened(), can_probe=False, later=COOLDOWN_S).state is BreakerState.OPEN

    probing = told(opened(), later=COOLDOWN_S)
    left = told(probing, is_calling=False, later=7)  # it came by again, and had begun nothing

    assert (left.state, left.probe) == (BreakerState.HALF_OPEN, None)
    assert told(left, lane="two", can_probe=False, later=8).probe is None
    assert told(left, lane="two", later=8).probe == "two"


def test_a_time_that_lies_too_far_ahead_was_written_before_the_clock_was_set_back():
    assert told(opened(), later=-3600).state is BreakerState.HALF_OPEN
