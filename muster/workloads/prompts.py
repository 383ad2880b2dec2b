"""`prompts`: an item is a prompt × provider; a model answers with web search, and the answer is read for names."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from muster.landing import Claimed, Landing, NewItem
from muster.ledger import Book
from muster.ledger.database import Tx
from muster.ledger.prompts import Answered, keep_answers
from muster.ledger.tables import Client
from muster.limits import Limits, Terms
from muster.mentions import Text
from muster.outcomes import ErrorKind, Outcome, Succeeded
from muster.settings import Settings
from muster.upstreams.answers import Unanswered
from muster.upstreams.anthropic import Anthropic
from muster.upstreams.gemini import Gemini
from muster.upstreams.grounded import GroundedAnswer, Provider, bounded
from muster.upstreams.perplexity import Perplexity
from muster.upstreams.responses import Responses
from muster.workload import Context

PROVIDERS: Final[Mapping[str, type[Responses | Perplexity | Gemini | Anthropic]]] = {
    it.NAME: it for it in (Responses, Perplexity, Gemini, Anthropic)
}
CALL_S: Final = 180.0  # a model that searches takes its time


class Prompts:
    """Puts a client's active prompts to every provider."""

    name: ClassVar[str] = "prompts"
    needs: ClassVar[tuple[str, ...]] = ()  # a provider without a key is named, and the others go on
    nothing: ClassVar[str] = "no active prompts"
    narrowed_by: ClassVar[frozenset[str]] = frozenset()
    longest_s: ClassVar[float] = CALL_S + 20.0

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def terms(self, limits: Limits) -> Terms:
        """At most so many prompts, each put to every provider."""
        return Terms(items=None if limits.prompts is None else limits.prompts * len(self.settings.providers))

    def bar(self, limits: Limits) -> str | None:
        """Every client may have its prompts asked, unless the limit is zero."""
        return "prompts limit is 0" if limits.prompts == 0 else None

    async def plan(
        self, book: Book, client: Client, limits: Limits, request: Mapping[str, Any]
    ) -> AsyncGenerator[NewItem, None]:
        """One item for each active prompt and provider; what is asked and looked for is frozen into it."""
        names = {"brand": client.brand, "competitors": client.competitors}
        async for row in book.prompts.active(client.id, limits.prompts):
            for provider in self.settings.providers:
                payload = {"prompt_id": row["id"], "client_id": client.id, "text": row["text"], **names}
                yield NewItem(f"{row['key']}/{provider}", provider, payload)

    async def attempt(self, item: Claimed, ctx: Context) -> Outcome:
        """Ask the provider, and read the answer for the brand and its competitors."""
        provider: Provider = ctx.upstream(PROVIDERS[item.upstream])
        try:
            answer = await provider.ask(
                item.payload["text"],
                model=self.settings.prompt_models[item.upstream],
                max_tokens=self.settings.prompt_tokens,
                country=self.settings.prompt_country,
                timeout=CALL_S,
            )
        except Unanswered as unanswered:
            raise self._priced(item.upstream, unanswered) from None
        answered = self._answered(item, bounded(answer))
        return Succeeded(
            result=_result(answered),
            rows=[answered],
            cost_micros=answered.cost_micros or 0,
            tokens=answer.input_tokens + answer.output_tokens,
            mark=answered.mark,
        )

    async def settle(self, tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
        """Keep the answers, each once."""
        await keep_answers(tx, [answered for landing in closed for answered in landing.rows])
        return {}

    def _answered(self, item: Claimed, answer: GroundedAnswer) -> Answered:
        asked, refused = item.payload, answer.mark is ErrorKind.REFUSED
        known = [names for names in (asked["brand"], *asked["competitors"]) if names]
        text = Text("" if refused else answer.text)
        found = {} if refused else {names[0]: text.mentions(names) for names in known}
        return Answered(
            item.id, asked["prompt_id"], asked["client_id"], item.upstream, answer,
            answer.mark or (None if answer.grounded else ErrorKind.UNGROUNDED),
            bool(asked["brand"] and found.get(asked["brand"][0])),
            found,
            self._cost(item.upstream, answer),
        )  # fmt: skip

    def _priced(self, provider: str, unanswered: Unanswered) -> Unanswered:
        """The same, with what it has to be paid for all the same, unless the provider says so itself."""
        price, used = self.settings.prompt_prices.get(provider), unanswered.usage
        if unanswered.outcome.cost_micros or price is None:
            return unanswered
        cost = price.of(used.input_tokens, used.output_tokens, used.searches)
        return Unanswered(replace(unanswered.outcome, cost_micros=cost), used)

    def _cost(self, provider: str, answer: GroundedAnswer) -> int | None:
        """Micro-dollars, rounded up: as the provider says, else by the price that is set for it."""
        price = self.settings.prompt_prices.get(provider)
        if answer.cost_micros is not None or price is None:
            return answer.cost_micros
        return price.of(answer.input_tokens, answer.output_tokens, answer.searches)


def _result(it: Answered) -> dict[str, Any]:
    """The answer in short, beside the item."""
    return {
        "model": it.answer.model,
        "brand_mentioned": it.brand_mentioned,
        "mentioned": [name for name, places in it.mentions.items() if places],
        "citations": len(it.answer.citations),
        "grounded": it.answer.grounded,
    }
