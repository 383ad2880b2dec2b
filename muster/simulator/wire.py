"""A call, an answer and a refusal as plain data, and what an upstream has to say of itself."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from muster.simulator.behaviour import Fault, Twist
from muster.simulator.rate import RateState

Headers = tuple[tuple[bytes, bytes], ...]
JSON_TYPE = b"application/json"


class Refused(Exception):
    """The call is not answered well; `wait` is the hint for a call that came too early."""

    def __init__(self, fault: Fault, message: str = "", wait: float | None = None) -> None:
        super().__init__(message)
        self.fault, self.message, self.wait = fault, message, wait


class Subject(NamedTuple):
    """Whom a call is about, and the text in which marker words count."""

    identity: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers, ready to be sent."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes = JSON_TYPE


def json_answer(data: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """Answer with JSON."""
    return Answer(status, orjson.dumps(data), headers)


@dataclass(kw_only=True)
class Call:
    """One HTTP call; the gate fills in the last five once it has let the call in."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    query_string: bytes
    body: bytes
    identity: str = ""
    text: str = ""
    twists: frozenset[Twist] = field(default_factory=frozenset)
    turn: int = 0
    latency: float = 0.0

    @cached_property
    def key(self) -> str:
        """The caller's key from whichever header carries one, or an empty string."""
        bearer = self.headers.get(b"authorization", b"").decode("latin-1")
        if bearer[:7].lower() == "bearer ":
            return bearer[7:].strip()
        key = self.headers.get(b"x-api-key") or self.headers.get(b"x-goog-api-key") or b""
        return key.decode("latin-1") or self._session

    @property
    def _session(self) -> str:
        """The cookie of that name."""
        cookies = (it.strip().partition("=") for it in self.headers.get(b"cookie", b"").decode("latin-1").split(";"))
        return next((value for name, _, value in cookies if name == "sessionid"), "")

    @cached_property
    def data(self) -> dict[str, Any]:
        """The body, which has to be a JSON object."""
        try:
            data = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise Refused(Fault.REJECTED, f"The request body is not valid JSON: {error}.") from None
        if not isinstance(data, dict):
            raise Refused(Fault.REJECTED, "The request body must be a JSON object.")
        return data

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query; of a repeated name the last one counts."""
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True))

    def quantity(self, name: str, default: float, most: float = float("inf")) -> float:
        """A number in the query between 0 and `most`."""
        given = self.query.get(name)
        try:
            value = default if given is None else float(given)
        except ValueError:
            value = -1
        if 0 <= value <= most:
            return value
        raise Refused(Fault.REJECTED, f"Query parameter {name} must be a number between 0 and {most:g}.")


class Work(Enum):
    """What a route sets going, which decides what is counted and what takes time."""

    NONE = "none"  # a look: counted as answered, nothing else
    HELD = "held"  # done while the caller waits
    BACKGROUND = "background"  # goes on after the answer; the upstream says when it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One route: whom its calls are about, and its good answer."""

    method: str
    path: str
    subject: Callable[[Call], Subject]
    answer: Callable[[Call], Awaitable[Answer]]
    work: Work = Work.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Everything that tells one upstream from the others."""

    name: str
    endpoints: tuple[Endpoint, ...]
    error: Callable[[Refused], Answer]  # for every fault but hang, HTML and huge
    headers: Callable[[RateState | None], Headers]  # on each answer, good or bad
    hints_in_body: bool = False  # when to come back is said there, and not in a header


def by_path(call: Call) -> Subject:
    """The subject of a look: the path itself, in which no marker counts."""
    return Subject(call.path, "")
