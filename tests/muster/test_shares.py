"""Shares are fair, never above the limit, and the same whoever computes them."""

import itertools
import math
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from muster.shares import Claimant, allotment, fair_shares, free_slots, jain, period, slots_to_draw

NOW = 1000.0
WEIGHTS = st.sampled_from([0.5, 1.0, 2.0, 5.0])


@st.composite
def claimants(draw: st.DrawFn, *, most: int = 8) -> list[Claimant]:
    """Lanes of a few clients, each client of one weight, in any order."""
    weights = draw(st.lists(WEIGHTS, min_size=1, max_size=4))
    lanes = []
    for number in range(draw(st.integers(1, most))):
        client = draw(st.integers(0, len(weights) - 1))
        held = draw(st.integers(0, 6))
        lanes.append(
            Claimant(
                f"lane-{number}",
                f"client-{client}",
                weights[client],
                held,
                draw(st.integers(0, 8)),
                draw(st.integers(0, 20)),
                None if held else draw(st.floats(0, NOW)),
                draw(st.floats(0, NOW)) if held else None,
            )
        )
    return draw(st.permutations(lanes))


def by_client(lanes: list[Claimant], shares: dict[str, int]) -> Counter[str]:
    return Counter({it.client: 0 for it in lanes}) + Counter(
        {client: sum(shares[it.lane] for it in lanes if it.client == client) for client in {it.client for it in lanes}}
    )


@given(claimants(), st.integers(-2, 40))
def test_shares_fill_the_limit_with_what_is_wanted_and_never_more(lanes: list[Claimant], slots: int):
    shares = fair_shares(slots, lanes, NOW)

    assert sum(shares.values()) == min(max(0, slots), sum(it.wanted for it in lanes))
    assert all(0 <= shares[it.lane] <= it.wanted for it in lanes)


@given(claimants(), st.integers(0, 40), st.randoms())
def test_whoever_computes_them_finds_the_same(lanes: list[Claimant], slots: int, rng: "object"):
    again = [*lanes]
    rng.shuffle(again)  # type: ignore[attr-defined]

    assert fair_shares(slots, lanes, NOW) == fair_shares(slots, again, NOW)


@given(claimants(), st.integers(0, 40))
def test_nobody_who_wants_more_has_a_slot_less_than_another_has_for_his_weight(lanes: list[Claimant], slots: int):
    shares = fair_shares(slots, lanes, NOW)
    given_to = by_client(lanes, shares)
    weight = {it.client: it.weight for it in lanes}
    wants = {client: sum(it.wanted for it in lanes if it.client == client) for client in weight}

    for (poor, light), (rich, heavy) in itertools.permutations(weight.items(), 2):
        if given_to[poor] < wants[poor] and given_to[rich]:
            assert given_to[poor] / light >= (given_to[rich] - 1) / heavy
    for one in lanes:
        for other in lanes:
            if one.client == other.client and shares[one.lane] < one.wanted:
                assert shares[one.lane] >= shares[other.lane] - 1


@given(claimants(), st.integers(0, 40))
def test_a_greater_weight_never_gets_less(lanes: list[Claimant], slots: int):
    client = lanes[0].client
    heavier = [
        Claimant(it.lane, it.client, it.weight * (3 if it.client == client else 1), it.held, it.allotted, it.wanted,
                 it.waiting_since, it.held_since)
        for it in lanes
    ]  # fmt: skip

    before, after = (by_client(some, fair_shares(slots, some, NOW))[client] for some in (lanes, heavier))

    assert after >= before


@given(claimants(), st.integers(1, 40), st.integers(0, 10))
def test_an_allotment_never_passes_what_the_others_leave(lanes: list[Claimant], limit: int, silent: int):
    me = lanes[0]
    charged = sum(it.charge for it in lanes[1:]) + silent

    given_to_me = allotment(limit, silent, lanes, me.lane, NOW)

    assert given_to_me <= max(0, limit - charged)
    assert given_to_me <= me.wanted
    assert given_to_me <= allotment(limit, silent, lanes, me.lane, NOW, most=20) <= max(0, limit - charged, given_to_me)


@given(claimants(), st.integers(1, 40))
def test_lanes_that_come_by_in_turn_leave_nothing_idle_that_somebody_wants(lanes: list[Claimant], limit: int):
    state = {it.lane: Claimant(it.lane, it.client, it.weight, 0, 0, it.wanted, NOW - 1, None) for it in lanes}
    for _ in range(len(state) + 1):
        for lane, it in state.items():
            got = allotment(limit, 0, list(state.values()), lane, NOW)
            since = (None, NOW) if got else (it.waiting_since, None)
            state[lane] = Claimant(lane, it.client, it.weight, got, got, it.wanted, *since)
            assert sum(other.charge for other in state.values()) <= limit

    assert sum(it.held for it in state.values()) == min(limit, sum(it.wanted for it in state.values()))


@given(claimants(), st.integers(0, 30), st.booleans())
def test_no_more_send_slots_are_drawn_than_are_free(lanes: list[Claimant], free: int, soon: bool):
    drawn = slots_to_draw(free, lanes, lanes[0].lane, NOW, soon=soon)

    assert 0 <= drawn <= free
    assert drawn <= max(0, lanes[0].wanted - lanes[0].held)


def test_more_lanes_than_slots_take_turns():
    waits = Claimant("waits", "a", wanted=5, waiting_since=NOW - 60)
    waits_less = Claimant("waits less", "b", wanted=5, waiting_since=NOW - 5)
    fresh = Claimant("fresh", "c", held=1, allotted=1, wanted=5, held_since=NOW - 5)
    long = Claimant("long", "d", held=1, allotted=1, wanted=5, held_since=NOW - 60)
    lanes = [long, waits_less, fresh, waits]

    assert fair_shares(2, lanes, NOW) == {"fresh": 1, "waits": 1, "waits less": 0, "long": 0}
    assert allotment(2, 0, lanes, "waits", NOW) == 0  # until the one that holds it for long lets go
    assert allotment(2, 0, lanes, "long", NOW) == 0
    assert allotment(2, 0, lanes, "fresh", NOW) == 1


def test_what_is_owed_to_one_who_waits_longer_is_left_for_him():
    first = Claimant("first", "a", wanted=1, waiting_since=NOW - 9)
    second = Claimant("second", "b", wanted=1, waiting_since=NOW - 3)

    assert allotment(1, 0, [first, second], "second", NOW) == 0
    assert allotment(1, 0, [first, second], "first", NOW) == 1


def test_calls_of_lanes_that_are_not_heard_of_count_until_they_have_timed_out():
    me = Claimant("me", "a", wanted=20, waiting_since=NOW)

    assert allotment(10, 7, [me], "me", NOW) == 3
    assert allotment(10, 12, [me], "me", NOW) == 0


def test_a_client_with_many_lanes_gets_no_more_than_one_with_few():
    many = [Claimant(f"many-{it}", "big", wanted=10, waiting_since=NOW - 9) for it in range(10)]
    few = Claimant("few", "small", wanted=10, waiting_since=NOW)

    shares = fair_shares(12, [*many, few], NOW)

    assert shares["few"] == 6


def test_send_slots_are_a_little_further_apart_than_a_minutes_share():
    assert period(600) * 600 == 60.6
    assert free_slots(0.0, NOW, period(600)) == math.floor(2.5 / 0.101) + 1
    assert free_slots(NOW + 2.4999, NOW, period(60)) == 1
    assert free_slots(NOW + 2.6, NOW, period(60)) == 0


def test_jains_index_is_one_where_all_have_the_same():
    assert jain([3, 3, 3]) == 1.0
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([]) == jain([0, 0]) == 1.0


def test_a_client_that_was_served_much_leaves_their_part_to_those_who_wait_for_a_driver():
    big = Claimant("big", "big", wanted=30, served=5000, waiting_since=NOW)
    small = [Claimant(f"s{it}", f"small-{it}", wanted=16, served=it, waiting_since=NOW) for it in range(7)]

    shares = fair_shares(40, [big, *small], NOW, in_line=42)

    assert shares["big"] == 1  # its part would be four fifths of a call
    assert {shares[it.lane] for it in small} == {5, 6}
    assert fair_shares(40, [big, *small], NOW)["big"] == 5
    assert fair_shares(40, [big, small[0]], NOW, in_line=42) == {"big": 24, "s0": 16}  # nobody else wants it


@given(claimants(), st.integers(0, 40), st.integers(1, 60), st.lists(st.integers(0, 9999), min_size=8, max_size=8))
def test_whoever_waits_in_line_costs_nobody_a_slot_that_is_wanted(
    lanes: list[Claimant], slots: int, in_line: int, served: list[int]
):
    lanes = [replace(it, served=n) for it, n in zip(lanes, served, strict=False)]

    shares = fair_shares(slots, lanes, NOW, in_line=in_line)

    assert sum(shares.values()) == min(slots, sum(it.wanted for it in lanes))
    assert all(0 <= shares[it.lane] <= it.wanted for it in lanes)
