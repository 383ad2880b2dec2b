"""The one table from an answer to an outcome: status and body decide, for every upstream alike.

Sources: the vendors' descriptions of their errors, as of November 2026. No adapter looks at a status itself.
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from muster.outcomes import ErrorKind, Failed, Retry, Skipped
from muster.upstreams import hints
from muster.upstreams.lenient import loads
from muster.upstreams.words import sentence

_MOST_ERROR_BODY: Final = 1 << 20  # bytes of an error's body that are looked at


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer used, as its upstream counts it."""

    input_tokens: int = 0
    output_tokens: int = 0
    searches: int = 0  # that are billed

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.searches + other.searches,
        )


NONE: Final = Usage()


class Unanswered(Exception):
    """There is no good answer; `outcome` is what the attempt says instead, `usage` what has to be paid all the same."""

    def __init__(self, outcome: Retry | Failed | Skipped, usage: Usage = NONE) -> None:
        super().__init__(outcome)
        self.outcome, self.usage = outcome, usage

    def __str__(self) -> str:
        return self.outcome.reason if isinstance(self.outcome, Skipped) else self.outcome.error


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole; `ms` is the time from sending to the body's last byte."""

    status: int
    headers: Mapping[str, str] = field(repr=False)  # found whatever the case of their names
    body: bytes = field(repr=False)
    ms: float
    upstream: str

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            Unanswered: `parse`, it is none.
        """
        try:
            return loads(self.body)
        except orjson.JSONDecodeError:
            error = f"{self.upstream} answered {self.status} with a body that is not JSON."
            raise Unanswered(Retry(kind=ErrorKind.PARSE, error=error, status_code=self.status)) from None


_K = ErrorKind
_KNOWN_BY: Final = frozenset({"code", "type", "status", "error_code", "reason", "quotaId"})  # keys that hold a code
_GONE_STATUSES: Final = frozenset({404, 410})
_DEEPEST: Final = 6


def _pattern(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Rule:
    """An answer of one of the statuses; with `codes` or `says`, only if the body holds such a code or message."""

    kind: ErrorKind
    statuses: Container[int]
    codes: re.Pattern[str] | None = None  # matches one of the body's codes as a whole
    says: re.Pattern[str] | None = None  # occurs in the vendor's message

    def fits(self, status: int, codes: list[str], message: str) -> bool:
        if status not in self.statuses:
            return False
        if self.codes is None and self.says is None:
            return True
        coded = self.codes is not None and any(map(self.codes.fullmatch, codes))
        return coded or (self.says is not None and self.says.search(message) is not None)


_RULES: Final = (  # the first that fits decides
    _Rule(  # Apify: too many runs at once
        _K.THROTTLED, {402, 403}, codes=_pattern("actor-memory-limit-exceeded", "concurrent-runs-limit-exceeded")
    ),
    _Rule(  # OpenAI's and Anthropic's codes, Gemini's quotas by the day; messages of all but OpenAI
        _K.OUT_OF_MONEY,
        {400, 403, 429},
        codes=_pattern(
            "credit_balance_exhausted",
            "(organization|project)_(spend|usage)_limit_exceeded",
            "insufficient_quota",
            "billing_hard_limit_reached",
            "(enforced|contract)_spend_limit_reached",
            ".*PerDay.*",
        ),
        says=_pattern(
            "credit balance is too low",
            "prepayment credits are depleted",
            "reached your specified (workspace )?API usage limits",
            "run out of searches",
            "usage hard limit exceeded",
        ),
    ),
    _Rule(_K.DENIED, {400}, codes=_pattern("API_KEY_INVALID"), says=_pattern("API key not valid")),  # Gemini
    _Rule(_K.DENIED, {401, 403, 407}),
    _Rule(_K.DENIED, range(300, 400)),  # no upstream of ours sends anybody elsewhere: its address is wrong
    _Rule(_K.OUT_OF_MONEY, {402, 432, 433}),  # the last two are Tavily's
    _Rule(_K.THROTTLED, {429, 529}),  # 529 is Anthropic's
    _Rule(_K.THROTTLED, {503}, codes=_pattern("UNAVAILABLE", "slow_down", ".*overloaded.*"), says=_pattern("overload")),
    _Rule(_K.GONE, {410}),
    _Rule(_K.TRANSIENT, {408, 409, 425, *range(500, 600)}),
    _Rule(_K.REJECTED, range(1000)),
)
_ASKED: Final[Mapping[str, Mapping[ErrorKind, ErrorKind]]] = {  # by `x-should-retry`, before the status is believed
    "true": {_K.REJECTED: _K.TRANSIENT, _K.GONE: _K.TRANSIENT},
    "false": {_K.TRANSIENT: _K.REJECTED, _K.THROTTLED: _K.REJECTED},
}  # an empty account and a bad key stay what they are

_NAMED: Final = {  # the status of the HTTP error whose name OpenAI, Perplexity or Anthropic give as a code
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "server_error": 500,
    "vector_store_timeout": 500,
    "overloaded_error": 503,
    "slow_down": 503,
    "timeout_error": 504,
}
_NAMELESS: Final = 500  # nothing says that the item is to blame


def check(answer: Answer, *, gone: bool = False) -> Answer:
    """Give a good answer back; `gone` says that the URL names the item's own thing, so that a 404 means it is no more.

    Raises:
        Unanswered: any status but 2xx; its outcome says what it means for the item and for the upstream.
    """
    if answer.status in range(200, 300):
        return answer
    raise Unanswered(_outcome(answer, gone=gone))


def failed(answer: Answer, error: Any, usage: Usage = NONE, cost_micros: int = 0) -> Unanswered:
    """What an error says that came with a good status: what the HTTP error of its code's name would, else `rejected`.

    What the answer cost goes with it.
    """
    codes, message = list(_codes(error)), said(error)
    status = next((_NAMED[it] for it in codes if it in _NAMED), 400 if codes else _NAMELESS)
    kind = _kind(replace(answer, status=status), codes, message)
    words = sentence(f"{answer.upstream} answered {answer.status} with an error", message or ", ".join(codes))
    outcome: Retry | Failed = Retry(kind=kind, error=words, wait=wait_hint(answer))
    if kind is _K.REJECTED:
        outcome = Failed(kind=kind, error=words)
    return Unanswered(replace(outcome, status_code=answer.status, tokens=usage.tokens, cost_micros=cost_micros), usage)


def wordless(upstream: str, why: str = "", usage: Usage = NONE, cost_micros: int = 0) -> Unanswered:
    """A good answer without a message in it, which cost what it cost."""
    error = sentence(f"{upstream} answered without a message", why)
    return Unanswered(Retry(kind=_K.PARSE, error=error, tokens=usage.tokens, cost_micros=cost_micros), usage)


def wait_hint(answer: Answer) -> float | None:
    """Seconds that the upstream asks to wait at least: from a header, else from the body; None if it says nothing."""
    told = hints.from_headers(answer.headers)
    return hints.from_details(_document(answer)) if told is None else told


def said(document: Any, depth: int = 0) -> str:
    """The vendor's own message, in whichever of the usual places it stands; empty if there is none."""
    if isinstance(document, list):
        document = document[0] if document else None
    if isinstance(document, str):
        return document
    if not isinstance(document, Mapping) or depth > _DEEPEST:
        return ""
    inner = (said(document.get(key), depth + 1) for key in ("error", "detail", "message", "msg", "errors"))
    return next(filter(None, inner), "")


def _outcome(answer: Answer, *, gone: bool) -> Retry | Failed | Skipped:
    document = _document(answer)
    message = said(document) or _plain_text(answer)
    error = sentence(f"{answer.upstream} answered {answer.status}", message)
    if answer.status in range(300, 400):  # where to is not repeated, it may hold a key
        error = f"{answer.upstream} answered {answer.status}, which sends elsewhere: is its address right?"
    kind = _kind(answer, list(_codes(document)), message)
    if kind is _K.GONE or (gone and answer.status in _GONE_STATUSES):
        return Skipped(reason=error, kind=_K.GONE, status_code=answer.status)
    if kind is _K.REJECTED:
        return Failed(kind=kind, error=error, status_code=answer.status)
    return Retry(kind=kind, error=error, wait=wait_hint(answer), status_code=answer.status)


def _kind(answer: Answer, codes: list[str], message: str) -> ErrorKind:
    kind = next(rule.kind for rule in _RULES if rule.fits(answer.status, codes, message))
    asked = answer.headers.get("x-should-retry", "").strip().lower()
    return _ASKED.get(asked, {}).get(kind, kind)


def _document(answer: Answer) -> Any:
    """An error's body as JSON, out of the list that Gemini sometimes wraps it in; None if it is no JSON."""
    try:
        document = loads(answer.body) if len(answer.body) <= _MOST_ERROR_BODY else None
    except orjson.JSONDecodeError:
        return None
    return document[0] if isinstance(document, list) and document else document


def _codes(node: Any, depth: int = 0) -> Iterator[str]:
    """Every machine-readable code in an error's body."""
    inner = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        if isinstance(value, str):
            if key in _KNOWN_BY:
                yield value
        elif depth < _DEEPEST:
            yield from _codes(value, depth + 1)


def _plain_text(answer: Answer) -> str:
    """The body, if it is a plain sentence and no page."""
    text = answer.body[:2000].decode(errors="replace").strip()
    return "" if text.startswith(("<", "{", "[")) else text
