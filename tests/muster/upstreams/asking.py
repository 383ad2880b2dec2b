"""What the tests of all adapters that ask a model with web search share."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import respx

from muster.outcomes import Failed, Retry
from muster.settings import Settings
from muster.upstreams.answers import Unanswered
from muster.upstreams.caller import Caller
from muster.upstreams.grounded import GroundedAnswer, Provider

KEY = "made-up-key-123"
BASE = "http://model.test/base"
PROMPT = "best CRM for dentists?"
WRONG: list[Any] = [None, True, -1, 7, 2.5, "x", "\x00", "", [], [None], ["x"], [[]], [{}], {}, {"x": {}}, 1 << 63]


def settings(**values: str) -> Settings:
    keys = {f"{name}_API_KEY": KEY for name in ("OPENAI", "PERPLEXITY", "GEMINI", "ANTHROPIC")}
    bases = {f"{name}_BASE_URL": f"{BASE}/" for name in ("OPENAI", "PERPLEXITY", "GEMINI", "ANTHROPIC")}
    return Settings.model_validate({**keys, **bases, **values})


def through(router: respx.MockRouter) -> Caller:
    return Caller(httpx.MockTransport(router.async_handler))


async def ask(provider: Provider, model: str = "m", country: str | None = None) -> GroundedAnswer:
    return await provider.ask(PROMPT, model=model, max_tokens=500, country=country)


async def failing(provider: Provider) -> Retry | Failed:
    """The outcome of a question that gets no answer; whatever it says, it does not show the key."""
    with pytest.raises(Unanswered) as unanswered:
        await ask(provider)
    outcome = unanswered.value.outcome
    assert isinstance(outcome, Retry | Failed)
    assert KEY not in repr(outcome)
    return outcome


def body(route: respx.Route, call: int = -1) -> Any:
    return orjson.loads(route.calls[call].request.content)


def spoiled(node: Any) -> Iterator[Any]:
    """The document with one of its members, however deep, replaced by something wrong, or left out."""
    yield from WRONG
    for key, value in node.items() if isinstance(node, dict) else ():
        yield {name: it for name, it in node.items() if name != key}
        yield from ({**node, key: it} for it in spoiled(value))
    for place, value in enumerate(node) if isinstance(node, list) else ():
        yield from ([*node[:place], it, *node[place + 1 :]] for it in spoiled(value))


async def survives(route: respx.Route, provider: Provider, document: Any) -> set[type]:
    """Ask as often as the document can be spoiled; says what came of it."""
    seen: set[type] = set()
    for wrong in spoiled(document):
        route.mock(httpx.Response(200, content=orjson.dumps(wrong)))
        try:
            answer = await ask(provider)
        except Unanswered as unanswered:
            seen.add(type(unanswered.outcome))
            continue
        assert_sound(answer)
        seen.add(GroundedAnswer)
    return seen


def assert_sound(answer: GroundedAnswer) -> None:
    """Every member has the type that it says, and can be kept in a database."""
    texts = [answer.text, answer.model, answer.id]
    for it in answer.citations:
        texts += [it.url, it.domain, it.title or ""]
        assert it.url
    assert all(isinstance(it, str) and "\x00" not in it for it in texts)
    counts = [answer.input_tokens, answer.output_tokens, answer.searches, answer.cost_micros or 0]
    assert all(type(it) is int and 0 <= it < 1 << 60 for it in counts)
    assert type(answer.grounded) is bool
    assert answer.text.strip() or answer.mark
