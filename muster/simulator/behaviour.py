"""Who misbehaves, and how: pure functions of the options, the words in a call and its number."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from muster.simulator.options import Options


class Fault(StrEnum):
    """What takes the place of a good answer."""

    DENIED = "denied"
    OUT_OF_MONEY = "out_of_money"
    THROTTLED = "throttled"
    REJECTED = "rejected"
    GONE = "gone"
    BROKEN = "broken"  # 500
    UNAVAILABLE = "unavailable"  # 503
    OVERLOADED = "overloaded"  # 529, or whatever the upstream says instead
    HANG = "hang"  # no answer until the client leaves
    HTML = "html"  # a gateway's page
    HUGE = "huge"


class Twist(StrEnum):
    """What spoils an otherwise good answer; each upstream knows its own and ignores the others'."""

    EMPTY = "empty"
    FEW = "few"
    MANY = "many"
    FAILED_RUN = "failed_run"
    TIMED_OUT = "timed_out"
    BAD_JSON = "bad_json"
    CUT_OFF = "cut_off"
    REFUSAL = "refusal"
    UNGROUNDED = "ungrounded"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Marker:
    """What one marker word does: a fault (for the first so many calls, or always) or a twist."""

    says: str
    fault: Fault | None = None
    first_calls: int | None = None  # None: every call
    twist: Twist | None = None


MARKERS: Mapping[str, Marker] = {  # of two in one call the upper one wins
    "sim-429-once": Marker("429 with Retry-After: 1 at the first call, then fine", Fault.THROTTLED, 1),
    "sim-flaky": Marker("503 at the first call, then fine", Fault.UNAVAILABLE, 1),
    "sim-500": Marker("always 500", Fault.BROKEN),
    "sim-503": Marker("always 503", Fault.UNAVAILABLE),
    "sim-reject": Marker("always 400", Fault.REJECTED),
    "sim-gone": Marker("always 404", Fault.GONE),
    "sim-hang": Marker("never answers", Fault.HANG),
    "sim-html": Marker("502 with an HTML body", Fault.HTML),
    "sim-huge": Marker("200 with a body of 20 MB", Fault.HUGE),
    "sim-empty": Marker("Apify: a profile without posts; Tavily: no result", twist=Twist.EMPTY),
    "sim-few": Marker("Apify: 1 post, Tavily: 1 result, whatever was asked", twist=Twist.FEW),
    "sim-many": Marker("Apify: 3 posts more than asked, whatever the caps", twist=Twist.MANY),
    "sim-failed-run": Marker("Apify: the run ends FAILED", twist=Twist.FAILED_RUN),
    "sim-timed-out": Marker("Apify: the run ends TIMED-OUT with 1 paid post", twist=Twist.TIMED_OUT),
    "sim-bad-json": Marker("chat: content that is not JSON", twist=Twist.BAD_JSON),
    "sim-cut-off": Marker("models: a part of the content, cut off at the limit", twist=Twist.CUT_OFF),
    "sim-refusal": Marker("models: a refusal", twist=Twist.REFUSAL),
    "sim-ungrounded": Marker("models with web search: an answer without a search", twist=Twist.UNGROUNDED),
    "sim-paused": Marker("Anthropic: the first turn is paused", twist=Twist.PAUSED),
}
KEY_MARKERS: Mapping[str, Fault] = {  # how a key may begin
    "sim-denied": Fault.DENIED,
    "sim-broke": Fault.OUT_OF_MONEY,
}
BUSY = "sim-busy-"  # and how many seconds: 429 from a key's first call on, then fine
THROTTLE_HINT = 1.0  # seconds, for a 429 that comes from a marker and not from the rate

_WORDS = re.compile("|".join(sorted(map(re.escape, MARKERS), key=len, reverse=True)))
_BY_TURNS = (Fault.BROKEN, Fault.UNAVAILABLE, Fault.OVERLOADED)


def number(*parts: object) -> int:
    """A 64-bit number that depends on nothing but the parts."""
    return int.from_bytes(blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest())


def share(*parts: object) -> float:
    """The same as a share of one, 1 itself excluded."""
    return (number(*parts) >> 11) / (1 << 53)


def markers_in(text: str) -> tuple[Marker, ...]:
    """The markers whose words the text holds, in the table's order."""
    if "sim-" not in text:  # the usual case, at a benchmark's speed
        return ()
    found = set(_WORDS.findall(text))
    return tuple(marker for word, marker in MARKERS.items() if word in found)


def twists_in(text: str) -> frozenset[Twist]:
    """The twists that the text asks for."""
    return frozenset(marker.twist for marker in markers_in(text) if marker.twist is not None)


def key_fault(key: str) -> Fault | None:
    """What a key is good for: none at all is as bad as a denied one."""
    if not key:
        return Fault.DENIED
    return next((fault for start, fault in KEY_MARKERS.items() if key.startswith(start)), None)


def busy_for(key: str) -> float:
    """Seconds for which an upstream answers 429 to a key, counted from its first call; 0 for all others."""
    seconds = key.removeprefix(BUSY)
    return float(seconds) if key.startswith(BUSY) and seconds.isdecimal() else 0.0


def marked_fault(text: str, turn: int) -> Fault | None:
    """The fault that the text asks for at its identity's n-th call, counted from 1."""
    for marker in markers_in(text):
        if marker.fault is not None and (marker.first_calls is None or turn <= marker.first_calls):
            return marker.fault
    return None


def random_fault(options: Options, upstream: str, identity: str, turn: int) -> Fault | None:
    """The fault that the rates give this very call, whatever came before or beside it."""
    if not options.error_rate and not options.hang_rate:
        return None
    drawn = share(options.seed, "fault", upstream, identity, turn)
    if drawn < options.hang_rate:
        return Fault.HANG
    if drawn < options.hang_rate + options.error_rate:
        return _BY_TURNS[number(options.seed, "which", upstream, identity, turn) % len(_BY_TURNS)]
    return None


def latency(options: Options, upstream: str, identity: str, turn: int) -> float:
    """Seconds that this call takes."""
    mean_ms = options.latency_of.get(upstream, options.latency_ms)
    if not mean_ms:
        return 0.0
    drawn = share(options.seed, "latency", upstream, identity, turn)
    return mean_ms / 1000 * (1 + options.latency_spread * (2 * drawn - 1))
