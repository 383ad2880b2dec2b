"""Gemini with Google Search: `POST {base}/models/{model}:generateContent`.

Sources: Google's discovery document of the Gemini API, ai.google.dev/gemini-api/docs/generate-content/api-errors, and
public adapters for what a citation holds, as of November 2026. An address is a redirect of Google's that expires; whose
page it is stands in its title.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote

import orjson
from pydantic import SecretStr

from muster.outcomes import ErrorKind
from muster.settings import Settings, variable
from muster.upstreams.access import address, secret
from muster.upstreams.answers import Answer, Usage, check, said, wordless
from muster.upstreams.caller import Call, Sender
from muster.upstreams.grounded import Citation, GroundedAnswer, domain_of, once_each
from muster.upstreams.lenient import count, listed, mapping, objects, text

Document = Mapping[str, Any]

_EXAMPLE: Final = "https://generativelanguage.googleapis.com/v1beta"
_REDIRECTS: Final = "vertexaisearch.cloud.google.com"  # the host of addresses that are not the publisher's own
_ENDS: Final[Mapping[str, ErrorKind | None]] = {  # by `finishReason`
    "": None,
    "FINISH_REASON_UNSPECIFIED": None,
    "STOP": None,
    "MAX_TOKENS": ErrorKind.CUT_OFF,
    **dict.fromkeys(("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), ErrorKind.REFUSED),
}
_BROKEN: Final = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE"})  # nobody declined: worth another try


@dataclass(frozen=True)
class Gemini:
    """The adapter; `key_variable` names the key in messages."""

    NAME: ClassVar[str] = "gemini"

    caller: Sender
    base_url: str
    key: SecretStr | None
    key_variable: str = field(default_factory=lambda: variable("gemini_api_key"))

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> Self:
        """Build it; no call is made.

        Raises:
            ConfigurationError: the base URL is none.
        """
        base_url = address(settings.gemini_base_url, variable("gemini_base_url"), _EXAMPLE)
        return cls(caller, base_url, settings.gemini_api_key)

    async def ask(
        self,
        prompt: str,
        *,
        model: str,
        max_tokens: int,
        country: str | None = None,
        timeout: float = 180,  # noqa: ASYNC109 - the caller keeps it
    ) -> GroundedAnswer:
        """Ask once, within `timeout` seconds; Gemini cannot be told a country, so that it makes no difference.

        Raises:
            Unanswered: no key, no answer, an error, or an answer without a message.
        """
        headers = {"x-goog-api-key": secret(self.key, self.key_variable), "content-type": "application/json"}
        asked = {
            "contents": [{"role": "user", "parts": [{"text": prompt}]}],
            "tools": [{"googleSearch": {}}],
            "generationConfig": {"maxOutputTokens": max_tokens},
        }
        url = f"{self.base_url}/models/{quote(model.removeprefix('models/'), safe='')}:generateContent"
        call = Call("POST", url, headers, orjson.dumps(asked))
        return _answered(check(await self.caller.send(call, upstream=self.NAME, timeout=timeout)))


def _answered(answer: Answer) -> GroundedAnswer:
    """Read leniently; an answer that was blocked, or cut off before its first word, is a result."""
    document = mapping(answer.json())
    candidate = next(iter(objects(document.get("candidates"))), {})
    found = mapping(candidate.get("groundingMetadata"))
    queries = [it for it in listed(found.get("webSearchQueries")) if isinstance(it, str)]
    usage = Usage(*_tokens(mapping(document.get("usageMetadata"))), len(queries))
    words = _words(candidate)
    mark, reason = _ended(document, candidate, words)
    if mark is None and not words.strip():
        raise wordless(answer.upstream, said(document) or reason, usage)
    return GroundedAnswer(
        text=reason if mark is ErrorKind.REFUSED else words,
        model=text(document.get("modelVersion")),
        citations=_citations(found),
        searches=usage.searches,
        grounded=bool(queries or objects(found.get("groundingChunks"))),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        mark=mark,
        id=text(document.get("responseId")),
    )


def _words(candidate: Document) -> str:
    parts = objects(mapping(candidate.get("content")).get("parts"))
    return "".join(text(part.get("text")) for part in parts if not part.get("thought"))


def _tokens(usage: Document) -> tuple[int, int]:
    """In and out; thoughts are billed as output and are not in the count of the candidates."""
    written = count(usage.get("candidatesTokenCount")) + count(usage.get("thoughtsTokenCount"))
    return count(usage.get("promptTokenCount")), written


def _ended(document: Document, candidate: Document, words: str) -> tuple[ErrorKind | None, str]:
    """How it ended, if not as it should, and Google's name for that."""
    blocked = text(mapping(document.get("promptFeedback")).get("blockReason"))
    if blocked:
        return ErrorKind.REFUSED, blocked
    reason = text(candidate.get("finishReason"))
    if reason in _ENDS:
        return _ENDS[reason], reason
    if words:
        return ErrorKind.CUT_OFF, reason
    return None if reason in _BROKEN else ErrorKind.REFUSED, reason


def _citations(found: Document) -> tuple[Citation, ...]:
    """The pages that support the text, in its order, then those that were found and support no one place of it."""
    pages = [mapping(mapping(it).get("web")) for it in listed(found.get("groundingChunks"))]
    supports = sorted(objects(found.get("groundingSupports")), key=_place)
    named = [it for support in supports for it in listed(support.get("groundingChunkIndices")) if isinstance(it, int)]
    order = [it for it in (*named, *range(len(pages))) if 0 <= it < len(pages)]
    return once_each([_citation(pages[it]) for it in order if text(pages[it].get("uri"))])


def _place(support: Document) -> tuple[int, int]:
    """Where in the text it is, in UTF-8 bytes, whose order is that of the letters; absent is 0."""
    segment = mapping(support.get("segment"))
    return count(segment.get("partIndex")), count(segment.get("startIndex"))


def _citation(web: Document) -> Citation:
    url, title = text(web.get("uri")), text(web.get("title"))
    host = domain_of(url)
    return Citation(url, domain_of(title) or ("" if host == _REDIRECTS else host), title or None)
