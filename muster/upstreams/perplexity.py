"""Perplexity's agent with web search: `POST {base}/v1/agent`.

Sources: docs.perplexity.ai *Create Agent Response* and /docs/agent-api/presets, as of November 2026. It says itself
what an answer cost, searches included.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self

import orjson
from pydantic import SecretStr

from muster.settings import Settings, variable
from muster.upstreams.access import address, bearer
from muster.upstreams.answers import Answer, check
from muster.upstreams.caller import Call, Sender
from muster.upstreams.grounded import Citation, GroundedAnswer, cited
from muster.upstreams.items import Document, items, spoken
from muster.upstreams.lenient import count, mapping, objects

_EXAMPLE: Final = "https://api.perplexity.ai"
_PRESET: Final = "preset:"
_NUMBER: Final = re.compile(r"\[([0-9]+)\]")  # `[1]`, as the text points to a result


@dataclass(frozen=True)
class Perplexity:
    """The adapter; `key_variable` names the key in messages."""

    NAME: ClassVar[str] = "perplexity"

    caller: Sender
    base_url: str
    key: SecretStr | None
    key_variable: str = field(default_factory=lambda: variable("perplexity_api_key"))

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> Self:
        """Build it; no call is made.

        Raises:
            ConfigurationError: the base URL is none.
        """
        base_url = address(settings.perplexity_base_url, variable("perplexity_base_url"), _EXAMPLE)
        return cls(caller, base_url, settings.perplexity_api_key)

    async def ask(
        self,
        prompt: str,
        *,
        model: str,
        max_tokens: int,
        country: str | None = None,
        timeout: float = 180,  # noqa: ASYNC109 - the caller keeps it
    ) -> GroundedAnswer:
        """Ask once, within `timeout` seconds, a model such as `perplexity/sonar`, or a preset such as `preset:fast`.

        A preset brings its own search with it, which takes no country.

        Raises:
            Unanswered: no key, no answer, an error, or an answer without a message.
        """
        headers = {**bearer(self.key, self.key_variable), "content-type": "application/json"}
        asked = {"input": prompt, "max_output_tokens": max_tokens, **_chosen(model, country)}
        call = Call("POST", f"{self.base_url}/v1/agent", headers, orjson.dumps(asked))
        return _answered(check(await self.caller.send(call, upstream=self.NAME, timeout=timeout)))


def _chosen(model: str, country: str | None) -> dict[str, Any]:
    if model.startswith(_PRESET):
        return {"preset": model.removeprefix(_PRESET)}
    tool: dict[str, Any] = {"type": "web_search"}  # a bare model searches only where the tool is listed
    return {"model": model, "tools": [{**tool, "user_location": {"country": country}} if country else tool]}


def _answered(answer: Answer) -> GroundedAnswer:
    document = mapping(answer.json())
    told = spoken(answer, document)
    searches = _searches(document)
    citations = told.citations or _pointed_to(document, told.text)
    return replace(told, citations=citations, searches=searches, grounded=searches > 0)


def _pointed_to(document: Document, words: str) -> tuple[Citation, ...]:
    """The results whose number occurs in the text, where it has no annotations."""
    found = [it for item in items(document, "search_results") for it in objects(item.get("results"))]
    results = {str(it.get("id")): it for it in found}
    return cited(results[number] for number in _NUMBER.findall(words) if number in results)


def _searches(document: Document) -> int:
    """As many as are billed, which are called `web_search` or `search_web`; else one for each list of results."""
    tools = mapping(mapping(document.get("usage")).get("tool_calls_details"))
    billed = sum(count(mapping(it).get("invocation")) for name, it in tools.items() if "search" in name)
    return billed or len(items(document, "search_results"))
