"""An answer of a model that could search the web, whichever provider gave it, and where it says it found things."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from muster.outcomes import ErrorKind
from muster.upstreams.lenient import text

MOST_TEXT: Final = 200_000  # letters; 20,000 tokens, the most that is asked for, are half of it


@dataclass(frozen=True, slots=True)
class Citation:
    """A page that an answer names as its source; `domain` is the publisher's, normalised."""

    url: str
    domain: str
    title: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundedAnswer:
    """What a model said; without `grounded` it did not search, and what it cites, if anything, it did not look up."""

    text: str
    model: str  # as answered
    citations: tuple[Citation, ...] = ()  # each page once, in the order of the text
    searches: int = 0  # that are billed
    grounded: bool = False
    input_tokens: int = 0
    output_tokens: int = 0  # thoughts included
    cost_micros: int | None = None  # where the provider says it; None: it has to be priced
    mark: ErrorKind | None = None  # `refused` or `cut_off`; a refusal's text is its reason
    id: str = ""


def bounded(answer: GroundedAnswer) -> GroundedAnswer:
    """The answer, or of one that is longer than any that was asked for, its beginning, marked as cut off."""
    if len(answer.text) <= MOST_TEXT:
        return answer
    return replace(answer, text=answer.text[:MOST_TEXT], mark=answer.mark or ErrorKind.CUT_OFF)


class Provider(Protocol):
    """An adapter that asks a model with web search."""

    async def ask(
        self, prompt: str, *, model: str, max_tokens: int, country: str | None = None, timeout: float = 180  # noqa: ASYNC109
    ) -> GroundedAnswer:  # fmt: skip
        """Ask once, within `timeout` seconds; `country` is where the asker seems to be, in two letters (ISO 3166-1).

        Raises:
            Unanswered: no key, no answer, an error, or an answer that cannot be read.
        """
        ...


def page(url: str) -> str:
    """The address without what only follows readers around (`utm_…`), so that the same page is the same."""
    parts = _split(url)
    told = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in told if not name.lower().startswith("utm_")]
    return url.strip() if len(kept) == len(told) else urlunsplit(parts._replace(query=urlencode(kept)))


def domain_of(url: str) -> str:
    """Whose page it is: the host in lower case, without port and `www.`; empty if there is none.

    Takes a bare domain as well, as Gemini names its publishers.
    """
    address = url.strip()
    host = _split(address if "://" in address else f"//{address}").hostname or ""
    try:
        host = host.encode("ascii").decode() if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return ""
    host = host.lower().rstrip(".").removeprefix("www.")
    return host if "." in host and " " not in host else ""


def cited(sources: Iterable[Mapping[str, Any]]) -> tuple[Citation, ...]:
    """The pages of objects with a `url` and perhaps a `title`, each once, in their order."""
    told = [(page(text(it.get("url"))), text(it.get("title"))) for it in sources]
    return once_each([Citation(url, domain_of(url), title or None) for url, title in told if url])


def once_each(citations: list[Citation]) -> tuple[Citation, ...]:
    """The citations, each page once, in their order."""
    first: dict[str, Citation] = {}
    for it in citations:
        first.setdefault(it.url, it)
    return tuple(first.values())


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url.strip())
    except ValueError:
        return urlsplit("")
