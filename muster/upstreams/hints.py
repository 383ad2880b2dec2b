"""When an upstream says to come back, in seconds; a hint that is negative, not finite or unreadable counts as absent.

What is read and in which order is that of the vendors' own clients; Gemini alone says it in the body.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

LONGEST_S: Final = 86_400.0  # a hint beyond a day is read as a day
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
