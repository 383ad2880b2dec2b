"""A made-up answer of a model that searched: sentences, which of them cite which page, and the brands that it names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from muster.simulator.behaviour import Twist, number, share
from muster.simulator.texts import sentence
from muster.simulator.wire import Call, Subject

REFUSAL = "I'm sorry, but I can't help with that."
LETTERS_A_TOKEN = 4
_LONGEST_IDENTITY = 200
_MENTIONED = 2 / 3  # of the answers name a brand that the prompt names
_DOMAINS = (
    "example-reviews.com",
    "www.buyers-guide.org",
    "news.trade-weekly.co.uk",
    "müller-vergleich.de",
    "wiki.how.net",
)
_QUOTED = re.compile(r'"([^"\n]{2,60})"')
_LISTED = re.compile(r"brands:\s*([^\n]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """A page that an answer cites."""

    url: str
    domain: str
    title: str


@dataclass(frozen=True, slots=True)
class Span:
    """Letters of the text, from and to, that stand on a source."""

    start: int
    end: int
    source: int


@dataclass(frozen=True, slots=True)
class Made:
    """An answer; without a search it has no sources."""

    text: str
    sources: Sequence[Source]
    spans: Sequence[Span]
    query: str

    @property
    def tokens(self) -> int:
        """As a model would count them, more or less."""
        return tokens_of(self.text)


def asked(prompt: str) -> Subject:
    """The subject of a prompt: its own beginning."""
    text = prompt.strip()
    return Subject(text[:_LONGEST_IDENTITY], text)


def made(seed: int, provider: str, call: Call, *, searches: bool) -> Made:
    """The answer to a call's prompt; the same seed, provider and prompt give the same."""
    rng = Random(number(seed, provider, call.identity))
    sources = _sources(rng) if searches and Twist.UNGROUNDED not in call.twists else []
    texts = [*(f"{sentence(rng)[:-1]}, as {name} shows." for name in _named(seed, provider, call)), sentence(rng)]
    texts += [sentence(rng) for _ in range(rng.randint(2, 4))]
    if Twist.CUT_OFF in call.twists:
        texts = texts[: len(texts) // 2 + 1]
    spans, at = [], 0
    for place, text in enumerate(texts):
        if sources:
            spans.append(Span(at, at + len(text), place % len(sources)))
        at += len(text) + 1
    return Made(" ".join(texts), sources, spans, call.identity[:80])


def tokens_of(text: str) -> int:
    """About as many as a model would count."""
    return max(1, len(text) // LETTERS_A_TOKEN)


def _named(seed: int, provider: str, call: Call) -> list[str]:
    listed = _LISTED.search(call.text)
    names = [*_QUOTED.findall(call.text), *(listed[1].split(",") if listed else ())]
    known = dict.fromkeys(name.strip() for name in names if name.strip())
    return [name for name in known if share(seed, "brand", provider, call.identity, name) < _MENTIONED]


def _sources(rng: Random) -> list[Source]:
    chosen = rng.sample(_DOMAINS, rng.randint(2, 4))
    return [Source(f"https://{it}/page-{rng.randint(1, 999)}", it, f"What {it} says") for it in chosen]
