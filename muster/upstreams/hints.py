"""When an upstream says to come back, in seconds; a hint that is negative, not finite or unreadable counts as absent.

What is read and in which order is that of the vendors' own clients; Gemini alone says it in the body. How much room is
left is said by OpenAI and Anthropic: both fill buckets steadily, and `reset` is when they are full again
(developers.openai.com/api/docs/guides/rate-limits, platform.claude.com/docs/en/api/rate-limits, November 2026).
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

LONGEST_S: Final = 86_400.0  # a hint beyond a day is read as a day
LONGEST_ROOM_S: Final = 60.0  # what is said of the room left is believed no longer
LOW: Final = 0.1  # the part of a bucket below which calls slow down
_GO_UNITS: Final = (3600.0, 60.0, 1.0, 0.001)
_GO_DURATION: Final = re.compile(  # OpenAI's `12ms`, `1s`, `6m0s`, `1h2m3.5s`
    r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m(?!s))?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)ms)?"
)
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_RETRY_INFO: Final = "google.rpc.RetryInfo"


def from_headers(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after-ms`, else `retry-after` in seconds or as an HTTP date (RFC 9110, section 10.2.3)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_S)
    told = headers.get("retry-after")
    seconds = _number(told)
    if seconds is None:
        seconds = _until(told, headers.get("date"))
    return None if seconds is None else min(seconds, LONGEST_S)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One of an upstream's limits: what it refills a minute, and which part of it is left, 0 to 1."""

    per_minute: float
    left: float


@dataclass(frozen=True, slots=True)
class Room:
    """What an upstream says is left, of requests and of tokens, believed for so many seconds."""

    requests: Bucket | None
    tokens: Bucket | None
    for_s: float

    def pace(self, tokens_each: float) -> float | None:
        """How many calls a minute are wise: ever fewer, the emptier a bucket is; None while there is plenty."""
        by_tokens = self.tokens and Bucket(self.tokens.per_minute / max(1.0, tokens_each), self.tokens.left)
        low = [it for it in (self.requests, by_tokens) if it is not None and it.left < LOW]
        return min((it.per_minute * it.left / LOW for it in low), default=None)


def room_of(headers: Mapping[str, str]) -> Room | None:
    """Read `x-ratelimit-*` or `anthropic-ratelimit-*`; None where neither says anything."""
    requests, tokens = _bucket(headers, "requests"), _bucket(headers, "tokens")
    told = [it for it in (requests, tokens) if it is not None]
    if not told:
        return None
    return Room(requests and requests[0], tokens and tokens[0], max(reset for _, reset in told))


def _bucket(headers: Mapping[str, str], kind: str) -> tuple[Bucket, float] | None:
    """A bucket, and the seconds until it is full; one that is full, or speaks nonsense, says nothing."""
    limit = _number(headers.get(f"x-ratelimit-limit-{kind}") or headers.get(f"anthropic-ratelimit-{kind}-limit"))
    left = _number(headers.get(f"x-ratelimit-remaining-{kind}") or headers.get(f"anthropic-ratelimit-{kind}-remaining"))
    reset = _reset(headers, kind)
    if not limit or left is None or not reset or reset < 0 or left >= limit:
        return None
    return Bucket(60 * (limit - left) / reset, left / limit), min(reset, LONGEST_ROOM_S)


def _reset(headers: Mapping[str, str], kind: str) -> float | None:
    told = headers.get(f"x-ratelimit-reset-{kind}")
    if told is not None:
        parts = _GO_DURATION.fullmatch(told.strip())
        return sum(float(it or 0) * unit for it, unit in zip(parts.groups(), _GO_UNITS, strict=True)) if parts else None
    with suppress(ValueError, TypeError):
        then = datetime.fromisoformat(headers.get(f"anthropic-ratelimit-{kind}-reset") or "")
        return (then - (_moment(headers.get("date")) or datetime.now(UTC))).total_seconds()
    return None


def from_details(document: Any) -> float | None:
    """Read Gemini's `error.details[]` of the type `google.rpc.RetryInfo`, whose `retryDelay` is such as `39s`."""
    error = document.get("error") if isinstance(document, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith(_RETRY_INFO):
            seconds = _number(str(detail.get("retryDelay", "")).removesuffix("s"))
            return None if seconds is None else min(seconds, LONGEST_S)
    return None


def _number(text: str | None) -> float | None:
    return float(text) if text and _NUMBER.fullmatch(text := text.strip()) else None


def _until(date: str | None, sent_at: str | None) -> float | None:
    """Seconds to a date, by the clock that the answer itself shows, so that ours may be wrong."""
    then = _moment(date)
    if then is None:
        return None
    seconds = (then - (_moment(sent_at) or datetime.now(UTC))).total_seconds()
    return seconds if seconds >= 0 else None


def _moment(date: str | None) -> datetime | None:
    if date:
        with suppress(ValueError, TypeError, OverflowError, IndexError, AttributeError):  # the parser is not strict
            moment = parsedate_to_datetime(date)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
