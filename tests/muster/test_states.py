"""The life of items and batches is exactly what the tables of moves say."""

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.states import (
    BATCH_MOVES,
    CLOSED_ITEMS,
    ITEM_MOVES,
    OPEN_ITEMS,
    RUN_MOVES,
    BatchState,
    ItemState,
    RunState,
    may_move,
    sources,
)

EVERY_STATE = [*ItemState, *BatchState, *RunState]


@given(here=st.sampled_from(EVERY_STATE), there=st.sampled_from(EVERY_STATE))
def test_a_move_is_legal_exactly_when_its_table_says_so(here: StrEnum, there: StrEnum):
    said = any(
        type(here) is kind and type(there) is kind and there in moves[here]  # type: ignore[index]
        for kind, moves in ((ItemState, ITEM_MOVES), (BatchState, BATCH_MOVES), (RunState, RUN_MOVES))
    )

    assert may_move(here, there) is said


@pytest.mark.parametrize("moves", [ITEM_MOVES, BATCH_MOVES, RUN_MOVES])
def test_every_state_has_its_row(moves: dict[StrEnum, frozenset[StrEnum]]):
    assert set(moves) == set(type(next(iter(moves))))


def test_an_item_that_succeeded_was_skipped_or_cancelled_never_moves_again():
    for state in (ItemState.SUCCEEDED, ItemState.SKIPPED, ItemState.CANCELLED):
        assert not ITEM_MOVES[state]


def test_open_and_closed_items_are_all_items():
    assert set(ItemState) == OPEN_ITEMS | CLOSED_ITEMS
    assert not OPEN_ITEMS & CLOSED_ITEMS


def test_a_batch_is_done_only_from_where_calls_may_be_in_flight():
    assert sources(BatchState.DONE) == {BatchState.IN_PROGRESS, BatchState.PAUSED, BatchState.FAILED}
