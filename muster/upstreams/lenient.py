"""Other people's JSON, read without trust in its shape."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

_LONE_HALF: Final = re.compile(  # half of a letter beyond the basic plane, as JavaScript leaves it where it cuts a text
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


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
