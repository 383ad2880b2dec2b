"""The upstreams that there are, and what each may be asked at once where nobody has said otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Allowed:
    """An upstream's limits over all processes; None: no limit."""

    concurrency: int | None = None  # calls in flight
    per_minute: float | None = None  # calls begun
    tokens_per_minute: float | None = None


KNOWN: Final[Mapping[str, Allowed]] = {
    "openai": Allowed(concurrency=64),  # its rates differ by account, and its answers tell them
    "perplexity": Allowed(concurrency=32),
    "gemini": Allowed(concurrency=64),
    "anthropic": Allowed(concurrency=64),
    "tavily": Allowed(),  # 100 or 1,000 calls a minute, by the key; it says nothing of them but 429
    "stories": Allowed(),  # its endpoint pairs are its limit
    "apify": Allowed(concurrency=64),  # actor runs; where a plan bears fewer, its answers say so
}
