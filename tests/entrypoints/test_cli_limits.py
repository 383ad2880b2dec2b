"""`muster limits` and `muster explain` as a person gives them."""

import pytest

from muster.ledger import Book
from tests.entrypoints.conftest import Muster, in_ledger
from tests.factories import a_batch


async def queued(book: Book) -> int:
    return await a_batch(book, 3)


def test_limits_are_listed_set_and_lifted(muster: Muster):
    usual = muster("limits", "list")
    assert usual.code == 0
    assert usual.out.splitlines()[2].split()[:3] == ["apify", "0", "64"]

    said = muster("limits", "set", "openai", "--concurrency", "20", "--per-minute", "600")
    assert said.out == "openai: concurrency 20, per minute 600, tokens per minute none.\n"
    assert muster("limits", "set", "openai", "--concurrency", "none").code == 0

    (openai,) = [it for it in muster("limits", "list", "--json").json["upstreams"] if it["name"] == "openai"]
    assert (openai["concurrency"], openai["per_minute"]) == (None, 600)
    findings = {it["what"]: it["said"] for it in muster("doctor", "--json").json["findings"]}
    assert findings["limits of openai"] == "per minute 600; breaker closed"
    assert findings["limits of apify"] == "concurrency 64; breaker closed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["set", "opnai", "--per-minute", "5"],
            "There is no upstream 'opnai'; there are anthropic, apify, gemini, openai, perplexity, stories, tavily.",
        ),
        (["set", "openai"], "Say which limit: --concurrency, --per-minute, --tokens-per-minute."),
        (["set", "openai", "--per-minute", "0"], "--per-minute '0' must be a whole number from 1 to"),
        (["set", "openai", "--concurrency", "-3"], "--concurrency '-3' must be a whole number"),
        (["set", "openai", "--tokens-per-minute", "1e5"], "--tokens-per-minute '1e5' must be a whole number"),
    ],
)
def test_a_limit_that_is_none_is_refused_in_one_sentence(muster: Muster, words: list[str], said: str):
    ended = muster("limits", *words)

    assert ended.code == 2
    assert said in ended.err


def test_a_batch_and_an_item_are_explained(muster: Muster):
    batch = in_ledger(queued)

    said = muster("explain", str(batch))
    item = muster("explain", f"{batch}/1", "--json").json

    assert f"Batch {batch} (numbers for acme) is queued since" in said.out
    assert "No driver is running" in said.out
    assert item["of"] == f"{batch}/1"
    assert item["sentences"][0].startswith(f"Item 1 of batch {batch} waits for its turn: 1 item of the batch come")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("x", "'x' is neither a batch's number nor a batch's item"),
        ("99", "There is no batch 99; `muster batches` lists them."),
        ("99/a", "There is no batch 99"),
    ],
)
def test_what_is_not_there_cannot_be_explained(muster: Muster, what: str, said: str):
    ended = muster("explain", what)

    assert ended.code == 2
    assert said in ended.err
