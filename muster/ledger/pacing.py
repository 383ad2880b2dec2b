"""How fast an upstream may be called at this moment, from its row: limits, send slots, what it said itself; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from muster.allotment import LONGEST_HOLD_S, Report, hold_for
from muster.breaker import Breaker
from muster.shares import BEAT_S, HORIZON_S, free_slots, period
from muster.states import BreakerState
from muster.upstreams.hints import Room

GROWS_S: Final = 5.0  # a ceiling rises by one call in flight in so many seconds
FORGETS: Final = timedelta(minutes=10)  # after which what it bore is no longer a limit
WEIGHT: Final = 0.05  # of one more call in the average of tokens
MOST_TOKENS: Final = 10_000_000  # of one call; a vendor's slip must not stop everybody
NEARLY: Final = 0.9  # of a limit that is set: an upstream that speaks of so much tells nothing new


@dataclass(frozen=True, slots=True)
class Pace:
    """Send slots: where the next is, how far apart they are, and the tokens reserved with each."""

    start: datetime
    every_s: float
    per_minute: float | None
    tokens: float
    tokens_per_minute: float | None

    def free(self, now: datetime) -> int:
        """How many there are up to the horizon."""
        return free_slots(self.start.timestamp(), now.timestamp(), self.every_s)

    def is_soon(self, now: datetime) -> bool:
        """Whether the next is due before all others have come by."""
        return (self.start - now).total_seconds() <= BEAT_S

    def next(self, n: int, now: datetime) -> list[datetime]:
        """The next so many."""
        return [max(self.start, now) + timedelta(seconds=self.every_s) * at for at in range(n)]


def limit_now(upstream: Mapping[str, Any], now: datetime) -> int | None:
    """Calls in flight: what is set, and while an upstream has lately throttled us, what it seems to bear."""
    limits = [it for it in (upstream["concurrency"], _ceiling(upstream, now)) if it is not None]
    return min(limits) if limits else None


def pace_now(upstream: Mapping[str, Any], now: datetime) -> Pace | None:
    """The send slots as they stand; None where no rate is limited."""
    rates = [it for it in (upstream["per_minute"], _paced(upstream, now)) if it is not None]
    per_minute, per_token = min(rates) if rates else None, upstream["tokens_per_minute"]
    tokens = min(upstream["tokens_per_call"], per_token) if per_token is not None else 0.0
    if per_minute is None and per_token is None:
        return None
    every = max(period(per_minute) if per_minute else 0.0, tokens * period(per_token) if per_token else 0.0)
    slack = timedelta(seconds=LONGEST_HOLD_S)
    starts = {
        "next_at": timedelta(seconds=HORIZON_S + every),
        "tokens_at": slack if per_token is not None else timedelta(0),
        "held_until": slack,
    }  # what lies farther ahead was written before the clock was set back
    start = max([now, *(min(it, now + most) for name, most in starts.items() if (it := upstream[name]))])
    return Pace(start, every, per_minute, tokens, per_token)


def draw(upstream: dict[str, Any], pace: Pace, slots: Sequence[datetime]) -> dict[str, Any]:
    """The upstream's row after these send slots were given away."""
    next_at, own = slots[-1] + _every(pace.per_minute), slots[-1] + _every(upstream["per_minute"])
    if upstream["paced_until"] is not None:  # a slow pace ends when what was said of the room left does
        next_at = min(next_at, max(own, upstream["paced_until"]))
    upstream = {**upstream, "next_at": next_at}
    if pace.tokens_per_minute is not None:
        upstream["tokens_at"] = slots[-1] + timedelta(seconds=pace.tokens * period(pace.tokens_per_minute))
    return upstream


def told(upstream: dict[str, Any], report: Report, in_flight: int, now: datetime) -> dict[str, Any]:
    """The upstream's row after a lane said what it was told: to wait, the room that is left, the tokens it took."""
    news: dict[str, Any] = {}
    if report.throttled_s is not None:
        until = now + timedelta(seconds=hold_for(report.throttled_s))
        news["held_until"] = max(until, upstream["held_until"] or until)
        if upstream["held_until"] is None or now >= upstream["held_until"]:  # one 429 of many lowers the ceiling
            bore = min(it for it in (limit_now(upstream, now), max(1, in_flight)) if it is not None)
            news |= {"ceiling": max(1, bore // 2), "throttled_at": now}
    if report.room is not None and not _is_known(report.room, upstream):
        pace = report.room.pace(upstream["tokens_per_call"])
        news["paced_per_minute"] = None if pace is None else max(1.0, pace)
        news["paced_until"] = now + timedelta(seconds=report.room.for_s)
    if report.tokens_off and upstream["tokens_per_minute"] is not None:
        off = max(-MOST_TOKENS, min(MOST_TOKENS, report.tokens_off)) * period(upstream["tokens_per_minute"])
        shift = timedelta(seconds=max(-LONGEST_HOLD_S, min(LONGEST_HOLD_S, off)))
        news["tokens_at"] = min((upstream["tokens_at"] or now) + shift, now + timedelta(seconds=LONGEST_HOLD_S))
    if report.tokens_each:
        news["tokens_per_call"] = upstream["tokens_per_call"] + min(1.0, WEIGHT * report.began) * (
            min(report.tokens_each, MOST_TOKENS) - upstream["tokens_per_call"]
        )
    return {**upstream, **news}


def breaker_of(upstream: Mapping[str, Any]) -> Breaker:
    """The breaker, as the row keeps it."""
    state = BreakerState(upstream["breaker"])
    return Breaker(state, upstream["failures"], upstream["openings"], upstream["open_until"], upstream["probe"])


def breaker_row(upstream: Mapping[str, Any], breaker: Breaker, error: str | None, now: datetime) -> dict[str, Any]:
    """The breaker's columns."""
    row = {
        "breaker": breaker.state,
        "failures": breaker.failures,
        "openings": breaker.openings,
        "open_until": breaker.open_until,
        "probe": breaker.probe,
        "error": error or upstream["error"],
    }
    return row if breaker.state == upstream["breaker"] else {**row, "since": now}


def _every(per_minute: float | None) -> timedelta:
    return timedelta(seconds=period(per_minute) if per_minute else 0)


def _is_known(room: Room, upstream: Mapping[str, Any]) -> bool:
    """Whether the limits that are set see to it already."""
    set_for = ((room.requests, upstream["per_minute"]), (room.tokens, upstream["tokens_per_minute"]))
    return all(bucket is None or (limit and bucket.per_minute >= NEARLY * limit) for bucket, limit in set_for)


def _ceiling(upstream: Mapping[str, Any], now: datetime) -> int | None:
    if upstream["ceiling"] is None or upstream["throttled_at"] is None or now - upstream["throttled_at"] > FORGETS:
        return None
    return int(upstream["ceiling"] + (now - upstream["throttled_at"]).total_seconds() // GROWS_S)


def _paced(upstream: Mapping[str, Any], now: datetime) -> float | None:
    is_over = upstream["paced_until"] is None or now >= upstream["paced_until"]
    return None if is_over else upstream["paced_per_minute"]
