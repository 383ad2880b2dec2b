"""Who is to blame for what came back through an endpoint pair: the item, the proxy, the session, the site, or nobody.

The rules are data, and the first that fits decides. Sources: the site's behaviour as earlier checkers met it; there is
no public description.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import httpx

from muster.upstreams.answers import Answer, said, wait_hint
from muster.upstreams.lenient import loads
from muster.upstreams.words import sentence

_MOST_READ: Final = 1 << 16  # bytes of a body in which a message is looked for
_REDIRECTS: Final = range(300, 400)
_ANY: Final = range(1000)


class Blame(StrEnum):
    """Whom a use of a pair speaks against."""

    NOBODY = "nobody"  # a good answer
    ITEM = "item"  # it will never be accepted
    PAIR = "pair"  # rate limited: the pair has to rest
    PROXY = "proxy"  # it cannot be reached, or refuses us
    SESSION = "session"  # spent: the site wants a new login
    SITE = "site"  # it is ill, for everybody


@dataclass(frozen=True, slots=True)
class Judged:
    """Who is to blame, and why in words that hold no secret; `wait` is the site's own hint in seconds."""

    blame: Blame
    error: str = ""
    wait: float | None = None
    status_code: int | None = None
    unreadable: bool = False  # a good answer that nobody understands


FINE: Final = Judged(Blame.NOBODY)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Answers of one of the statuses; with `says`, only those whose body or redirect says so."""

    blame: Blame
    statuses: Container[int] = _ANY
    says: re.Pattern[str] | None = None
    html: bool = False  # only a page for people

    def fits(self, status: int, words: str, *, html: bool) -> bool:
        if status not in self.statuses or (self.html and not html):
            return False
        return self.says is None or self.says.search(words) is not None


RULES: Final = (
    _Rule(Blame.PROXY, {407}),
    _Rule(Blame.PAIR, {429}),
    _Rule(Blame.PAIR, {400, 401, 403}, re.compile(r"please wait", re.IGNORECASE)),
    _Rule(Blame.SESSION, _REDIRECTS, re.compile(r"login|checkpoint|challenge", re.IGNORECASE)),
    _Rule(Blame.SESSION, range(100, 500), re.compile(r"\b(login|checkpoint|challenge)_required\b")),
    _Rule(Blame.SITE, {408, 425, *range(500, 600)}),
    _Rule(Blame.SESSION, {401, 403}),
    _Rule(Blame.SESSION, range(200, 500), html=True),
    _Rule(Blame.SITE, _REDIRECTS),
    _Rule(Blame.NOBODY, range(200, 300)),
    _Rule(Blame.ITEM),
)


def judge(answer: Answer) -> Judged:
    """Say who is to blame for an answer, by its status and body."""
    document = _document(answer.body)
    words = said(document) if document is not None else ""
    asked = " ".join((words, _codes(document), _target(answer.headers) if answer.status in _REDIRECTS else ""))
    html = _is_html(answer)
    rule = next(it for it in RULES if it.fits(answer.status, asked, html=html))
    if rule.blame is Blame.NOBODY:
        return FINE
    what = words or (f"a redirect to {_path(answer.headers)}" if answer.status in _REDIRECTS else "")
    error = sentence(f"{answer.upstream} answered {answer.status}", what or ("a page for people" if html else ""))
    return Judged(rule.blame, error, wait_hint(answer), answer.status)


def judge_failure(error: Exception, upstream: str, *, proven: bool) -> Judged:
    """Say who is to blame for no answer; a proxy is only trusted where it has `proven` that it answers.

    The exception's own text stays unsaid: it may hold the proxy's address.
    """
    if isinstance(error, httpx.ProxyError):
        return Judged(Blame.PROXY, "The proxy refused the connection.")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Judged(Blame.PROXY, "The proxy could not be reached.")
    late = isinstance(error, TimeoutError | httpx.TimeoutException)
    what = "did not answer in time" if late else "broke the connection off"
    if not proven:
        return Judged(Blame.PROXY, f"The proxy {what}.")
    return Judged(Blame.SITE, f"{upstream} {what}.")


def _document(body: bytes) -> object:
    try:
        return loads(body) if len(body) <= _MOST_READ else None
    except ValueError:
        return None


def _codes(document: object) -> str:
    """What a body says beside its message, such as an error's type."""
    kept = document if isinstance(document, Mapping) else {}
    return " ".join(value for value in kept.values() if isinstance(value, str))


def _target(headers: Mapping[str, str]) -> str:
    return headers.get("location", "")


def _path(headers: Mapping[str, str]) -> str:
    """Where a redirect leads, without its query, which may hold a token."""
    try:
        return urlsplit(_target(headers)).path or "/"
    except ValueError:
        return "an address that is none"


def _is_html(answer: Answer) -> bool:
    start = answer.body[:200].lstrip().lower()
    return "text/html" in answer.headers.get("content-type", "") or start.startswith((b"<!doctype html", b"<html"))
