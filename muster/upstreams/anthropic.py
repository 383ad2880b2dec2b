"""Anthropic's Messages with web search: `POST {base}/v1/messages`.

Sources: Anthropic's OpenAPI description (tryAGI/Anthropic), platform.claude.com/docs/en/api/versioning and /errors, the
types of the `anthropic` 2.12.0 package, as of November 2026. This version of the API refuses every sampling field.
Searches are billed by the call, beside the tokens.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self

import orjson
from pydantic import SecretStr

from muster.outcomes import ErrorKind
from muster.settings import Settings, variable
from muster.upstreams.access import address, secret
from muster.upstreams.answers import Unanswered, Usage, check, said, wordless
from muster.upstreams.caller import Call, Sender
from muster.upstreams.grounded import GroundedAnswer, cited
from muster.upstreams.lenient import count, listed, mapping, objects, text

Document = Mapping[str, Any]

_NAME: Final = "anthropic"
_EXAMPLE: Final = "https://api.anthropic.com"
_VERSION: Final = "2026-10-21"
_MOST_SEARCHES: Final = 3  # in a turn
_MORE_TURNS: Final = 3  # after a first one that was paused
_PAUSED: Final = "pause_turn"
_REFUSAL: Final = "refusal"
_MARKS: Final = {  # by `stop_reason`
    "max_tokens": ErrorKind.CUT_OFF,
    "model_context_window_exceeded": ErrorKind.CUT_OFF,
    _PAUSED: ErrorKind.CUT_OFF,
    _REFUSAL: ErrorKind.REFUSED,
}
_READ: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")  # none is part of another


@dataclass(frozen=True)
class Anthropic:
    """The adapter; `key_variable` names the key in messages."""

    NAME: ClassVar[str] = _NAME

    caller: Sender
    base_url: str
    key: SecretStr | None
    key_variable: str = field(default_factory=lambda: variable("anthropic_api_key"))

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> Self:
        """Build it; no call is made.

        Raises:
            ConfigurationError: the base URL is none.
        """
        base_url = address(settings.anthropic_base_url, variable("anthropic_base_url"), _EXAMPLE)
        return cls(caller, base_url, settings.anthropic_api_key)

    async def ask(
        self,
        prompt: str,
        *,
        model: str,
        max_tokens: int,
        country: str | None = None,
        timeout: float = 180,  # noqa: ASYNC109 - kept over all turns
    ) -> GroundedAnswer:
        """Ask once, within `timeout` seconds; a long search that is paused is gone on with, up to three times.

        Raises:
            Unanswered: no key, no answer, an error, or an answer without a message.
        """
        until = time.monotonic() + timeout
        messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
        asked = {"model": model, "max_tokens": max_tokens, "messages": messages, "tools": [_search(country)]}
        turns = [await self._turn(asked, timeout)]
        while _is_paused(turns[-1]) and len(turns) <= _MORE_TURNS and (left := until - time.monotonic()) > 0:
            messages.append({"role": "assistant", "content": turns[-1]["content"]})
            try:
                turns.append(await self._turn(asked, left))
            except Unanswered as unanswered:
                raise _after(turns, unanswered) from None
        return _answered(turns)

    async def _turn(self, asked: Mapping[str, Any], timeout: float) -> Document:  # noqa: ASYNC109
        key = secret(self.key, self.key_variable)
        headers = {"x-api-key": key, "anthropic-version": _VERSION, "content-type": "application/json"}
        call = Call("POST", f"{self.base_url}/v1/messages", headers, orjson.dumps(asked))
        return mapping(check(await self.caller.send(call, upstream=self.NAME, timeout=timeout)).json())


def _search(country: str | None) -> dict[str, Any]:
    """The version whose results stand in the answer itself; later ones can search inside code that they run."""
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": _MOST_SEARCHES}
    return {**tool, "user_location": {"type": "approximate", "country": country}} if country else tool


def _is_paused(turn: Document) -> bool:
    return turn.get("stop_reason") == _PAUSED and bool(listed(turn.get("content")))


def _after(turns: Sequence[Document], unanswered: Unanswered) -> Unanswered:
    """The same, with what the turns before it cost."""
    usage = _usage(turns) + unanswered.usage
    return Unanswered(replace(unanswered.outcome, tokens=usage.tokens), usage)


def _answered(turns: Sequence[Document]) -> GroundedAnswer:
    """Read leniently; the turns are one answer, and the last one says how it ended."""
    last = turns[-1]
    blocks = [block for turn in turns for block in objects(turn.get("content"))]
    texts = [block for block in blocks if block.get("type") == "text"]
    words = "".join(text(it.get("text")) for it in texts)  # a sentence is many blocks, cut where a citation begins
    mark = _MARKS.get(text(last.get("stop_reason")))
    usage = _usage(turns)
    if mark is None and not words.strip():
        raise wordless(_NAME, said(last), usage)
    return GroundedAnswer(
        text=_reason(last) or words or _REFUSAL if mark is ErrorKind.REFUSED else words,
        model=text(last.get("model")),
        citations=cited(it for block in texts for it in objects(block.get("citations")) if _is_page(it)),
        searches=usage.searches,
        grounded=any(map(_is_found, blocks)),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        mark=mark,
        id=text(last.get("id")),
    )


def _reason(turn: Document) -> str:
    return text(mapping(turn.get("stop_details")).get("explanation"))


def _is_page(citation: Document) -> bool:
    return citation.get("type") == "web_search_result_location"


def _is_found(block: Document) -> bool:
    """Whether a search worked; of one that did not, the content is an error, which fails nothing but the search."""
    return block.get("type") == "web_search_tool_result" and isinstance(block.get("content"), list)


def _usages(turns: Sequence[Document]) -> list[Document]:
    return [mapping(turn.get("usage")) for turn in turns]


def _usage(turns: Sequence[Document]) -> Usage:
    """Of all turns together."""
    usages = _usages(turns)
    read = sum(count(it.get(name)) for it in usages for name in _READ)
    searches = sum(count(mapping(it.get("server_tool_use")).get("web_search_requests")) for it in usages)
    return Usage(read, sum(count(it.get("output_tokens")) for it in usages), searches)
