"""Where an item lands: outcome and tries decide."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.backoff import CAP_S, delay
from muster.landing import Claimed, give_back, land
from muster.outcomes import FREE_OF_TRY, STOPS_UPSTREAM, ErrorKind, Failed, Outcome, Retry, Skipped, Succeeded
from muster.states import ITEM_MOVES, ItemState


def an_item(tries: int = 0, starts: int = 1) -> Claimed:
    return Claimed(1, "k", "web", {}, tries, starts, 0, datetime(2026, 11, 22, tzinfo=UTC))


outcomes = st.one_of(
    st.builds(Succeeded),
    st.builds(Skipped, reason=st.text()),
    st.builds(Failed, kind=st.sampled_from(ErrorKind), error=st.text()),
    st.builds(Retry, kind=st.sampled_from(ErrorKind), error=st.text(), wait=st.none() | st.floats(0, 86_400)),
)


@given(outcome=outcomes, tries=st.integers(1, 9), used=st.integers(0, 9), starts=st.integers(1, 99))
def test_every_landing_is_a_legal_move_from_running(outcome: Outcome, tries: int, used: int, starts: int):
    landing = land(an_item(used, starts), outcome, tries=tries)

    assert landing.state in ITEM_MOVES[ItemState.RUNNING]
    assert landing.tries - used in {0, 1}


@pytest.mark.parametrize("kind", sorted(set(ErrorKind) - FREE_OF_TRY))
def test_tries_run_out(kind: ErrorKind):
    wobble = Retry(kind=kind, error="wobble")

    assert land(an_item(tries=1), wobble, tries=3).state is ItemState.WAITING
    assert land(an_item(tries=2), wobble, tries=3).state is ItemState.FAILED


@pytest.mark.parametrize("kind", sorted(FREE_OF_TRY))
def test_what_the_item_is_not_to_blame_for_uses_no_try(kind: ErrorKind):
    landing = land(an_item(tries=2, starts=50), Retry(kind=kind, error="not my fault"), tries=3)

    assert landing.tries == 2
    assert landing.state is (ItemState.PENDING if kind in STOPS_UPSTREAM else ItemState.WAITING)


def test_an_item_given_back_is_as_it_was():
    landing = give_back(an_item(tries=2))

    assert (landing.state, landing.tries, landing.wait, landing.is_trouble) == (ItemState.PENDING, 2, None, False)


@given(tries=st.integers(0, 200), hint=st.none() | st.floats(0, 100_000), seed=st.integers())
def test_a_hint_is_a_minimum_and_without_one_the_wait_is_bounded(tries: int, hint: float | None, seed: int):
    wait = delay(tries, hint, rng=random.Random(seed))

    if hint is None:
        assert 0 <= wait <= CAP_S
    else:
        assert hint <= wait <= hint + 5


def test_waits_grow_with_the_tries():
    waits = [max(delay(tries, rng=random.Random(seed)) for seed in range(50)) for tries in (1, 3, 6)]

    assert waits == sorted(waits)
