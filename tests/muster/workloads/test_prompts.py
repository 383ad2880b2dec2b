"""`prompts`: every active prompt × provider once, its answer kept with what it names, whatever providers do."""

from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, select

from muster.ledger.database import Row, Tx
from muster.ledger.domain import ANSWER
from muster.ledger.tables import ATTEMPT, BATCH, EVENT, ITEM, STEP
from muster.limits import Mode
from muster.mentions import MOST_PLACES, Text
from muster.outcomes import ErrorKind
from muster.pricing import MOST_MICROS, Price
from muster.states import BatchState, ItemState, PromptState
from muster.upstreams.answers import Usage, wordless
from muster.upstreams.grounded import MOST_TEXT, GroundedAnswer, bounded
from muster.verifying import repair, verify
from muster.workloads.prompts import PROVIDERS
from tests.drain import World

ALL = ("openai", "perplexity", "gemini", "anthropic")


@pytest.fixture
def night(world: World) -> World:
    """A world with all four providers."""
    root = "http://simulator"
    world.set(
        providers=ALL, perplexity_base_url=root, gemini_base_url=f"{root}/v1beta", anthropic_base_url=root,
        **{f"{name}_api_key": SecretStr("sim") for name in ALL},
    )  # fmt: skip
    return world


async def asked(world: World, *texts: str, client: str = "acme", **columns: Any) -> None:
    usual = {"id": client, "service_level": 2, "brand": ["Acme Corp", "Acme"], "competitors": [["Beta"], ["Gamma Ltd"]]}
    await world.book.clients.put([{**usual, **columns}])
    rows = [{"client_id": client, "key": f"p{at}", "text": text} for at, text in enumerate(texts)]
    await world.book.prompts.put(rows)


async def answers(world: World) -> list[Row]:
    return list(await world.book.database.read(lambda tx: tx.rows(select(ANSWER).order_by(ANSWER.c.id))))


async def test_each_active_prompt_is_put_to_each_provider_once(night: World):
    await asked(night, *(f'Is "Acme" or "Beta" best for {n}?' for n in range(8)))
    await night.book.prompts.put([{"client_id": "acme", "key": "p3", "text": "old", "state": PromptState.INACTIVE}])

    (batch,) = await night.run("prompts")

    kept = await answers(night)
    assert (batch["state"], batch["total"], batch["succeeded"]) == (BatchState.DONE, 28, 28)
    prompts = (1, 2, 3, 5, 6, 7, 8)
    assert {(it["provider"], it["prompt_id"]) for it in kept} == {(name, n) for name in ALL for n in prompts}
    assert [sum((await night.calls(name)).values()) for name in ALL] == [7, 7, 7, 7]
    assert all(it["grounded"] and it["citations"] and it["model"] for it in kept)
    assert (await verify(night.book, batch["run_id"])).gaps == []


async def test_the_brand_and_its_competitors_are_found_where_they_stand(night: World):
    await asked(night, *(f'Is "ACMÉ" or "Beta" best for {n}?' for n in range(12)))
    await night.run("prompts")

    kept = await answers(night)
    assert {it["brand_mentioned"] for it in kept} == {True, False}
    for it in kept:
        assert set(it["mentions"]) == {"Acme Corp", "Beta", "Gamma Ltd"}
        assert it["brand_mentioned"] == bool(it["mentions"]["Acme Corp"])
        assert all(it["text"][at : at + 4] == "ACMÉ" for at in it["mentions"]["Acme Corp"])
        assert all(it["text"][at : at + 4] == "Beta" for at in it["mentions"]["Beta"])
        assert it["mentions"]["Gamma Ltd"] == []


async def test_refused_cut_off_and_ungrounded_answers_are_results_that_are_marked(night: World):
    await asked(night, "sim-refusal", "sim-cut-off", "sim-ungrounded", brand=[])

    (batch,) = await night.run("prompts")

    causes = {(it["state"], it["why"]): it["n"] for it in await night.book.readings.causes(batch["id"])}
    done = ItemState.SUCCEEDED
    assert causes == {(done, "refused"): 4, (done, "cut_off"): 4, (done, "ungrounded"): 4}
    assert {it["mark"] for it in await answers(night)} == {"refused", "cut_off", "ungrounded"}
    assert not any(it["brand_mentioned"] for it in await answers(night))


async def test_costs_are_the_vendors_else_by_price_else_unknown(night: World):
    night.set(prompt_prices={"openai": Price(input=1_000_000, output=5_000_000, searches=10_000_000)})
    await asked(night, "hello there")

    (batch,) = await night.run("prompts")

    kept = {it["provider"]: it for it in await answers(night)}
    openai = kept["openai"]
    assert openai["cost_micros"] == openai["input_tokens"] + 5 * openai["output_tokens"] + 10_000
    assert kept["perplexity"]["cost_micros"] > 5_000
    assert kept["gemini"]["cost_micros"] is kept["anthropic"]["cost_micros"] is None
    assert batch["cost_micros"] == openai["cost_micros"] + kept["perplexity"]["cost_micros"]


async def test_providers_that_cannot_be_called_are_named_and_the_others_go_on(night: World):
    """One without a key, one that is denied, one busy for a while, one healthy."""
    night.set(
        openai_api_key=None, perplexity_api_key=SecretStr("sim-denied"), gemini_api_key=SecretStr("sim-busy-1"), tries=2
    )
    await asked(night, *(f"question {n}" for n in range(6)))

    (batch,) = await night.run("prompts")

    assert (batch["state"], batch["remaining"], batch["succeeded"]) == (BatchState.FAILED, 12, 12)
    assert "OPENAI_API_KEY is not set" in batch["reason"]
    assert "perplexity answered 401" in batch["reason"]
    troubles = await night.book.explaining.troubles([batch["id"]])
    assert [it.split()[0] for it in troubles] == ["openai", "perplexity"]
    assert all("holds up 6 items" in it and "since" in it for it in troubles)
    assert not await night.calls("openai")
    states = {(it["upstream"], it["state"]) async for it in night.book.readings.items(batch["id"])}
    open_ones = {("openai", ItemState.PENDING), ("perplexity", ItemState.PENDING)}
    assert states == open_ones | {("gemini", ItemState.SUCCEEDED), ("anthropic", ItemState.SUCCEEDED)}

    night.set(openai_api_key=SecretStr("sim"), perplexity_api_key=SecretStr("sim"))
    (batch,) = await night.run("prompts")  # the same run key goes on

    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 24)
    assert all(n == 1 for n in (await night.calls("anthropic")).values())
    run = await night.book.runs.get(batch["run_id"])
    assert run["certificate"]["complete"] is True


async def test_clients_without_active_prompts_are_told_so(night: World):
    await asked(night, "hello")
    await night.book.clients.put([{"id": "quiet", "service_level": 2}, {"id": "low", "service_level": 1}])
    await asked(night, "hello", client="away", state="inactive")

    (batch,) = await night.run("prompts")

    reasons = {it.client_id: it.reason for it in await night.book.runs.decisions(batch["run_id"])}
    assert reasons == {
        "acme": None,
        "away": "client is inactive",
        "low": "prompts: service level 1 is below 2",
        "quiet": "prompts: no active prompts",
    }


async def test_testing_mode_asks_five_prompts(night: World):
    await asked(night, *(f"question {n}" for n in range(9)))

    (batch,) = await night.run("prompts", mode=Mode.TESTING)

    assert batch["total"] == 5 * len(ALL)


async def test_an_answer_keeps_the_question_that_was_asked(night: World):
    await asked(night, "one")
    (batch,) = await night.run("prompts")
    await asked(night, "another")

    told = [it async for it in night.book.prompts.answers(batch["id"])]
    assert [(it["prompt"], it["asked"]) for it in told] == [("p0", "one")] * len(ALL)
    assert "payload" not in told[0]


async def test_a_file_without_states_turns_no_prompt_on_again(night: World):
    await night.book.clients.put([{"id": "acme"}])
    row = {"client_id": "acme", "key": "p", "text": "hello"}
    await night.book.prompts.put([{**row, "state": PromptState.INACTIVE}])
    await night.book.prompts.put([{**row, "text": "hello there"}])

    (kept,) = await night.book.prompts.all()
    assert (kept["text"], kept["state"]) == ("hello there", PromptState.INACTIVE)


async def test_a_repair_asks_what_was_planned_or_nothing(night: World):
    await asked(night, "one", "two")
    (batch,) = await night.run("prompts")
    await gone(night, ITEM.c.key == "p1/openai")
    await asked(night, "one", "two, changed")
    called = sum((await night.calls("openai")).values())

    (refused,) = await repair(night.book, night.settings, batch["run_id"])

    assert refused.startswith("1 items of batch 1 are gone and cannot be planned again as they were")
    await asked(night, "one", "two")
    (mended,) = await repair(night.book, night.settings, batch["run_id"])
    assert mended == "Batch 1: 1 item planned again."
    assert sum((await night.calls("openai")).values()) == called


async def test_a_batch_that_is_gone_is_opened_as_it_was_planned_or_not_at_all(night: World):
    await asked(night, "one", "two")
    (batch,) = await night.run("prompts")
    await gone(night, ITEM.c.batch_id == batch["id"], whole=True)
    await asked(night, "one", "two", "three")

    assert await repair(night.book, night.settings, batch["run_id"]) == [
        "The batch of acme prompts is gone and cannot be planned again as it was; a new run plans what is due now."
    ]
    assert await night.book.readings.batches_of_run(batch["run_id"]) == []
    await night.book.prompts.put([{"client_id": "acme", "key": "p2", "text": "-", "state": PromptState.INACTIVE}])

    assert await repair(night.book, night.settings, batch["run_id"]) == [
        "The batch of acme prompts is open again, as it was planned."
    ]


async def gone(world: World, meant: Any, *, whole: bool = False) -> None:
    """Lose items and their answers and, if `whole`, every batch."""

    async def lose(tx: Tx) -> None:
        mine = select(ITEM.c.id).where(meant)
        for table in (ANSWER, ATTEMPT, STEP):
            await tx.run(delete(table).where(table.c.item_id.in_(mine)))
        await tx.run(delete(EVENT))
        await tx.run(delete(ITEM).where(meant))
        if whole:
            await tx.run(delete(BATCH))

    await world.book.database.write(lose)


async def test_a_count_that_nobody_counts_to_is_none_and_costs_no_other_item(night: World):
    """As of a vendor's bug: it is in one answer, and all others are kept."""
    night.set(prompt_prices={"anthropic": Price(input=MOST_MICROS, output=MOST_MICROS, searches=MOST_MICROS)})
    told = GroundedAnswer(text="Acme", model="m", searches=10**9, input_tokens=10**9, output_tokens=10**9)

    class Anthropic:
        @classmethod
        def connect(cls, *_: Any) -> Any:
            return cls()

        async def ask(self, *_: Any, **__: Any) -> GroundedAnswer:
            return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROVIDERS, "anthropic", Anthropic)
        await asked(night, "one", "two")
        (batch,) = await night.run("prompts")

    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 8)
    costs = {it["cost_micros"] for it in await answers(night) if it["provider"] == "anthropic"}
    assert costs == {MOST_MICROS}


async def test_an_answer_of_any_length_is_kept_up_to_a_bound(night: World):
    long = GroundedAnswer(text="é Acme " * 100_000, model="m", grounded=True)
    assert bounded(long).text == long.text[:MOST_TEXT]
    assert bounded(long).mark is ErrorKind.CUT_OFF
    assert len(Text(bounded(long).text).mentions(["Acme"])) == MOST_PLACES


async def test_what_has_to_be_paid_without_a_message_is_counted(night: World):
    night.set(prompt_prices={"openai": Price(input=1_000_000, output=5_000_000, searches=0)}, tries=2)

    class Silent:
        @classmethod
        def connect(cls, *_: Any) -> Any:
            return cls()

        async def ask(self, *_: Any, **__: Any) -> GroundedAnswer:
            raise wordless("openai", usage=Usage(100, 10))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROVIDERS, "openai", Silent)
        night.set(providers=("openai",))
        await asked(night, "one")
        (batch,) = await night.run("prompts")

    assert (batch["failed"], batch["cost_micros"]) == (1, 2 * 150)


async def test_a_prompt_that_is_changed_meanwhile_shifts_nothing(night: World):
    """The items are frozen: what is added or changed after the planning is another night's."""
    await asked(night, "one", "two")
    (batch,) = await night.run("prompts")
    await asked(night, "one, changed", "two", "three")
    (again,) = await night.run("prompts")

    assert again["id"] == batch["id"]
    assert again["total"] == 8
