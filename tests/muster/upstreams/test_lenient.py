"""Values of other people's JSON."""

import math
from typing import Any

import pytest

from muster.upstreams.lenient import count, listed, micros, objects, text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        (0, 0),
        (-1, 0),
        (True, 0),
        (2.5, 0),
        ("7", 0),
        (None, 0),
        ([], 0),
        (10**9, 10**9),
        (10**9 + 1, 0),
        (1 << 62, 0),
    ],
)
def test_a_count_is_a_number_of_things(value: Any, number: int) -> None:
    assert count(value) == number


@pytest.mark.parametrize(
    ("dollars", "amount"),
    [
        (0.0042, 4200),
        (0.000123, 123),  # not 124, which floats would make of it
        (1e-9, 1),
        (0.0000011, 2),
        (0, 0),
        (3, 3_000_000),
        (1_000_000, 10**12),
        (1_000_001, None),
        (-0.1, None),
        (math.nan, None),
        (math.inf, None),
        (True, None),
        ("0.1", None),
        (None, None),
    ],
)
def test_dollars_are_rounded_up_to_micro_dollars(dollars: Any, amount: int | None) -> None:
    assert micros(dollars) == amount


@pytest.mark.parametrize(("value", "kept"), [("a\x00b", "ab"), ("", ""), (None, ""), (3, ""), ([], "")])
def test_a_text_has_no_zero_bytes(value: Any, kept: str) -> None:
    assert text(value) == kept


@pytest.mark.parametrize("value", [None, 3, "ab", {"a": 1}])
def test_what_is_no_list_is_an_empty_one(value: Any) -> None:
    assert listed(value) == objects(value) == []


def test_only_objects_are_taken_from_a_list() -> None:
    assert objects([{"a": 1}, None, 3, [], {}]) == [{"a": 1}, {}]
