"""Other people's JSON, read without trust in its shape."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

_LONE_HALF: Final = re.compile(  # half of a letter beyond the basic plane, as JavaScript leaves it where it cuts a text
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)

_MOST_COUNTED: Final = 1_000_000_000  # of tokens or searches in one answer; more is a mistake of whoever says it
_MOST_DOLLARS: Final = 1_000_000  # for one thing; more is a mistake of whoever says it


def loads(body: bytes) -> Any:
    """Read JSON; halves of letters, which no database takes, become U+FFFD.

    Raises:
        orjson.JSONDecodeError: it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return orjson.loads(_LONE_HALF.sub(rb"\\ufffd", body))


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; whatever else is in it is left out."""
    return [it for it in listed(value) if isinstance(it, Mapping)]


def text(value: Any) -> str:
    """A text without the zero bytes that PostgreSQL does not take; empty if it is none."""
    return value.replace("\x00", "") if isinstance(value, str) else ""


def count(value: Any) -> int:
    """How many there are of something; 0 if it is no such number."""
    is_one = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_COUNTED
    return value if is_one else 0


def micros(dollars: Any) -> int | None:
    """Dollars as micro-dollars, rounded up; None if it is no amount."""
    if isinstance(dollars, bool) or not isinstance(dollars, int | float) or not 0 <= dollars <= _MOST_DOLLARS:
        return None
    return math.ceil(Decimal(str(dollars)) * 1_000_000)  # as a float, 0.000123 would be 124
