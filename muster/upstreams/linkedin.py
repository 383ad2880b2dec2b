"""What the LinkedIn actor takes and gives: `harvestapi/linkedin-profile-posts`, by its input schema and source.

Actors change without notice: every field of a row is optional here but its `type` and `id`.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from muster.upstreams.lenient import mapping, text

_COUNTS: Final = ("likes", "comments", "shares")


@dataclass(frozen=True, slots=True)
class FoundPost:
    """A post of a profile; `external_id` is LinkedIn's own, `posted_at` is UTC, or None when the post has no date."""

    external_id: str
    url: str | None = None
    text: str | None = None
    posted_at: datetime | None = None
    author: str | None = None
    engagement: Mapping[str, Any] = field(default_factory=dict)


def posts_input(url: str, *, limit: int, window: str) -> dict[str, Any]:
    """The actor's input for at most `limit` posts of one profile, within the window (`any`, `week`, `year`, …).

    Raises:
        ValueError: `limit` is less than 1, which the actor would take for no limit.
    """
    if limit < 1:
        raise ValueError(f"a harvest needs a limit of at least 1 post, not {limit}")
    return {
        "targetUrls": [url],
        "maxPosts": limit,
        "postedLimit": window,
        "includeReposts": True,
        "includeQuotePosts": True,
        "scrapeReactions": False,  # each is charged like a post
        "scrapeComments": False,
    }


def posts_of(rows: Iterable[Mapping[str, Any]], url: str, *, alone: bool = True) -> list[FoundPost]:
    """The posts of one profile among a run's mixed rows, each once, in their order.

    A post is the profile's when it is its author, or when its row names it as the target. With `alone`, the run had no
    other target, so that a re-post, whose author is somebody else, is the profile's as well.
    """
    handle = _handle(url)
    found: dict[str, FoundPost] = {}
    for row in rows:
        external_id = _id(row.get("id"))
        if row.get("type") == "post" and external_id and _is_of(row, handle, alone=alone):
            found.setdefault(external_id, _post(row, external_id))
    return list(found.values())


def _is_of(row: Mapping[str, Any], handle: str, *, alone: bool) -> bool:
    author = mapping(row.get("author"))
    by = _text(author.get("publicIdentifier")) or _handle(_text(author.get("linkedinUrl")) or "")
    if by and unquote(by).casefold() == handle:
        return True
    target = _text(mapping(row.get("query")).get("targetUrl"))
    return _handle(target) == handle if target else alone


def _handle(url: str) -> str:
    """Whose page a URL is: the last part of its path that is no tab of it, decoded, in small letters."""
    try:
        path = urlsplit(url.strip()).path
    except ValueError:
        return ""
    parts = [part for part in path.split("/") if part]
    kinds = [place for place, part in enumerate(parts[:-1]) if part in {"in", "company", "school", "showcase"}]
    part = parts[kinds[0] + 1] if kinds else parts[-1] if parts else ""
    return unquote(part).casefold()


def _post(row: Mapping[str, Any], external_id: str) -> FoundPost:
    author = mapping(row.get("author"))
    return FoundPost(
        external_id=external_id,
        url=_text(row.get("linkedinUrl")),
        text=_text(row.get("content")),
        posted_at=_posted_at(mapping(row.get("postedAt"))),
        author=_text(author.get("publicIdentifier")) or _text(author.get("name")),
        engagement=_engagement(mapping(row.get("engagement"))),
    )


def _posted_at(told: Mapping[str, Any]) -> datetime | None:
    """From the timestamp in milliseconds, else from the ISO date."""
    timestamp, date = told.get("timestamp"), told.get("date")
    with suppress(ValueError, OverflowError, OSError):
        if isinstance(timestamp, int | float) and math.isfinite(timestamp) and timestamp > 0:
            return datetime.fromtimestamp(timestamp / 1000, UTC)
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(date) if isinstance(date, str) else None
        if moment:
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _engagement(told: Mapping[str, Any]) -> dict[str, Any]:
    """Likes, comments and shares, and how many reactions of which type."""
    counts: dict[str, Any] = {name: told[name] for name in _COUNTS if _is_count(told.get(name))}
    listed = told.get("reactions")
    reactions = [mapping(it) for it in listed] if isinstance(listed, list) else []
    kinds = {str(it.get("type")): it["count"] for it in reactions if it.get("type") and _is_count(it.get("count"))}
    return {**counts, "reactions": kinds} if kinds else counts


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _id(value: Any) -> str:
    """An id as text; the actor gives digits in a string, older ones gave a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return (_text(value) or "").strip()


def _text(value: Any) -> str | None:
    return text(value) or None
