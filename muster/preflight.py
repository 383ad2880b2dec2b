"""What would keep an upstream's items from ending, known before the first call."""

from collections.abc import Iterable
from typing import Final

from muster.outcomes import ErrorKind
from muster.settings import Settings, variable

KEYS: Final = {
    "openai": "openai_api_key",
    "perplexity": "perplexity_api_key",
    "gemini": "gemini_api_key",
    "anthropic": "anthropic_api_key",
    "apify": "apify_token",
    "tavily": "tavily_api_key",
}
BASES: Final = {
    "openai": "openai_base_url",
    "perplexity": "perplexity_base_url",
    "gemini": "gemini_base_url",
    "anthropic": "anthropic_base_url",
    "apify": "apify_base_url",
    "tavily": "tavily_base_url",
}


def pointing(upstream: str, kind: ErrorKind | None, error: str) -> str:
    """What an upstream said when it let nobody in, with the variable of the key that it did not like."""
    is_named = any(variable(key) in error for key in KEYS.values())
    if kind is not ErrorKind.DENIED or upstream not in KEYS or is_named:
        return error
    return f"{error} Is {variable(KEYS[upstream])} right?"


def keyless(settings: Settings, upstreams: Iterable[str]) -> dict[str, str]:
    """The upstreams whose key is not set, each with a sentence that says so and the way out."""
    return {
        name: f"{variable(KEYS[name])} is not set; set it and resume the batch."
        for name in upstreams
        if name in KEYS and getattr(settings, KEYS[name]) is None
    }
