"""Tavily: `POST {base}/search`, the sources that an article stands on."""

from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

import orjson
from pydantic import SecretStr

from muster.settings import Settings, variable
from muster.upstreams.access import address, bearer
from muster.upstreams.answers import Answer, check
from muster.upstreams.caller import Call, Sender
from muster.upstreams.lenient import count, mapping, objects, text

_NAME: Final = "tavily"
_EXAMPLE: Final = "https://api.tavily.com"
_DEPTH: Final = "basic"
_CREDITS: Final = 1  # of a search of that depth, should the answer not say
_MOST_LETTERS: Final = 4_000  # of a source's text
_MOST_TITLE: Final = 300
_LONGEST_URL: Final = 2_000
_WEB: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Source:
    """A page that the search found; `content` is what of it fits the query."""

    title: str
    url: str
    content: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave, and what it cost."""

    sources: list[Source]
    credits: int
    request_id: str


@dataclass(frozen=True)
class Tavily:
    """The adapter; `key_variable` names the key in messages."""

    NAME: ClassVar[str] = _NAME

    caller: Sender
    base_url: str
    key: SecretStr | None
    key_variable: str = field(default_factory=lambda: variable("tavily_api_key"))

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> Self:
        """Build it; no call is made.

        Raises:
            ConfigurationError: the base URL is none.
        """
        base_url = address(settings.tavily_base_url, variable("tavily_base_url"), _EXAMPLE)
        return cls(caller, base_url, settings.tavily_api_key)

    async def search(self, query: str, *, most: int, timeout: float = 60) -> Found:  # noqa: ASYNC109 - the caller keeps it
        """Search once, within `timeout` seconds, for at most so many sources.

        Raises:
            Unanswered: no key, no answer, or an error.
        """
        headers = {**bearer(self.key, self.key_variable), "content-type": "application/json"}
        asked = {"query": query, "search_depth": _DEPTH, "max_results": most, "include_usage": True}
        call = Call("POST", f"{self.base_url}/search", headers, orjson.dumps(asked))
        return _found(check(await self.caller.send(call, upstream=self.NAME, timeout=timeout)), most)


def _found(answer: Answer, most: int) -> Found:
    """Read leniently: what is no page of the web is left out, and so is a page that stands twice."""
    document = mapping(answer.json())
    sources: dict[str, Source] = {}
    for it in objects(document.get("results")):
        url = text(it.get("url")).strip()
        if not url.lower().startswith(_WEB) or len(url) > _LONGEST_URL:
            continue
        title = " ".join(text(it.get("title")).split())[:_MOST_TITLE]
        sources.setdefault(url, Source(title or url, url, text(it.get("content"))[:_MOST_LETTERS], _score(it)))
    credits_used = count(mapping(document.get("usage")).get("credits")) or _CREDITS
    return Found([*sources.values()][:most], credits_used, text(document.get("request_id"))[:_MOST_TITLE])


def _score(it: object) -> float | None:
    told = mapping(it).get("score")
    return float(told) if isinstance(told, int | float) and not isinstance(told, bool) else None
