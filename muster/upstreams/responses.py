"""OpenAI's Responses with web search: `POST {base}/responses`.

Source: openai/openai-openapi `openapi.yaml`, as of November 2026. Searches are billed by the call, beside the tokens.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self

import orjson
from pydantic import SecretStr

from muster.settings import Settings, variable
from muster.upstreams.access import address, bearer
from muster.upstreams.answers import Answer, check
from muster.upstreams.caller import Call, Sender
from muster.upstreams.grounded import GroundedAnswer
from muster.upstreams.items import Document, items, spoken
from muster.upstreams.lenient import mapping

_EXAMPLE: Final = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Responses:
    """The adapter; `key_variable` names the key in messages. It shares its upstream with `Chat`."""

    NAME: ClassVar[str] = "openai"

    caller: Sender
    base_url: str
    key: SecretStr | None
    key_variable: str = field(default_factory=lambda: variable("openai_api_key"))

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> Self:
        """Build it; no call is made.

        Raises:
            ConfigurationError: the base URL is none.
        """
        base_url = address(settings.openai_base_url, variable("openai_base_url"), _EXAMPLE)
        return cls(caller, base_url, settings.openai_api_key)

    async def ask(
        self,
        prompt: str,
        *,
        model: str,
        max_tokens: int,
        country: str | None = None,
        timeout: float = 180,  # noqa: ASYNC109 - the caller keeps it
    ) -> GroundedAnswer:
        """Ask once, within `timeout` seconds; the model has to use a tool, and search is the only one it has.

        Raises:
            Unanswered: no key, no answer, an error, or an answer without a message.
        """
        headers = {**bearer(self.key, self.key_variable), "content-type": "application/json"}
        asked = {
            "model": model,
            "input": prompt,
            "max_output_tokens": max_tokens,
            "store": False,
            "tools": [_search(country)],
            "tool_choice": "required",  # left to itself, a model answers some prompts without a search
            "include": ["web_search_call.action.sources"],
        }
        call = Call("POST", f"{self.base_url}/responses", headers, orjson.dumps(asked))
        return _answered(check(await self.caller.send(call, upstream=self.NAME, timeout=timeout)))


def _search(country: str | None) -> dict[str, Any]:
    tool: dict[str, Any] = {"type": "web_search"}
    return {**tool, "user_location": {"type": "approximate", "country": country}} if country else tool


def _answered(answer: Answer) -> GroundedAnswer:
    document = mapping(answer.json())
    calls = items(document, "web_search_call")
    return replace(spoken(answer, document), searches=sum(map(_is_search, calls)), grounded=bool(calls))


def _is_search(call: Document) -> bool:
    """Whether the call is billed: to open a page that was found is free, and what does not say so was a search."""
    return bool(mapping(call.get("action")).get("type", "search") == "search")
