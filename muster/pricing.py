"""The model providers that prompts are put to: their models, what those cost, and how an operator says so."""

from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, Field

MOST_MICROS: Final = 10**12  # a million dollars
PRICE_EXAMPLE: Final = "openai=1:5:10"
PROMPT_MODELS: Final = {
    "openai": "gpt-6.1-terra",
    "perplexity": "perplexity/sonar",
    "gemini": "gemini-3.8-flash",
    "anthropic": "claude-sonnet-5-5",
}
ProviderName = Literal["openai", "perplexity", "gemini", "anthropic"]


class Price(BaseModel):
    """What a model's calls cost, in micro-dollars per million tokens and per thousand searches."""

    input: int = Field(ge=0, le=MOST_MICROS)
    output: int = Field(ge=0, le=MOST_MICROS)
    searches: int = Field(ge=0, le=MOST_MICROS)

    def of(self, input_tokens: int, output_tokens: int, searches: int) -> int:
        """Micro-dollars, rounded up; no more than a million dollars, so that a batch's sum stays a number."""
        tokens = -(-(input_tokens * self.input + output_tokens * self.output) // 1_000_000)
        return min(MOST_MICROS, tokens - (-searches * self.searches // 1000))


def by_provider(given: str, example: str) -> dict[str, str]:
    """Something for each of some providers, as in `openai=…,gemini=…`.

    Raises:
        ValueError: it does not look like that.
    """
    pairs = [part.partition("=") for part in given.split(",") if part.strip()]
    told = {name.strip(): value.strip() for name, _, value in pairs}
    if not told or not all(told.values()) or not set(told) <= set(get_args(ProviderName)):
        raise ValueError(f"must look like {example}; there are {', '.join(get_args(ProviderName))}")
    return told


def read_prices(given: str) -> dict[str, Any]:
    """Prices by provider, in micro-dollars, from dollars.

    Raises:
        ValueError: it does not look like them.
    """
    return {name: _price(told) for name, told in by_provider(given, PRICE_EXAMPLE).items()}


def _price(told: str) -> dict[str, int]:
    try:
        micros = [round(1_000_000 * float(part)) for part in told.split(":")]
        named = dict(zip(Price.model_fields, micros, strict=True))
    except (ValueError, OverflowError):
        raise ValueError(f"must look like {PRICE_EXAMPLE}, in dollars") from None
    return named
