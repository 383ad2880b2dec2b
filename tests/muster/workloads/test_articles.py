"""`articles`: what is bought, in which order and how often, and what is kept of it; simulator behind httpx's seam."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from muster.drafts import LONGEST_NAME, keep
from muster.ledger.database import Row
from muster.limits import Mode
from muster.states import BatchState, ItemState
from tests.drain import World

NASTY = [
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "😀" * 200,
    "a/b",
    "A?",
    "a!",
    ".",
    "con",
]


@pytest.fixture
async def desk(world: World) -> World:
    """A client without anything of the night's."""
    await world.book.clients.put([{"id": "articles"}])
    return world


async def worked(world: World, folder: Path, *keywords: str, key: str = "night", **more: Any) -> Row:
    only = {"keywords": list(keywords), "output_dir": str(folder), "name": key, **more}
    (batch,) = await world.run("articles", only=only, key=key)
    return batch


async def items(world: World, batch: Row) -> dict[str, Row]:
    return {it["key"]: it async for it in world.book.readings.items(batch["id"])}


def pages(folder: Path) -> dict[str, str]:
    """What each folder says it is about."""
    return {it.parent.name: json.loads(it.read_text())["keyword"] for it in folder.rglob("research.json")}


async def test_nasty_keywords_end_in_safe_and_separate_folders(desk: World, tmp_path: Path):
    folder = tmp_path / "drafts"

    batch = await worked(desk, folder, *NASTY, parallel=4)

    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, len(NASTY))
    there = pages(folder)
    assert sorted(there.values()) == sorted(NASTY)
    assert pages(tmp_path) == there  # nothing beside it
    assert {it.parent for it in folder.rglob("research.json")} == {folder / name for name in there}
    assert all(len(name) <= LONGEST_NAME and name.replace("-", "").isalnum() for name in there)
    for page in folder.rglob("index.html"):
        assert "<script" not in page.read_text()


async def test_folders_of_other_batches_and_of_people_are_never_replaced(desk: World, tmp_path: Path):
    (tmp_path / "one").mkdir()

    await worked(desk, tmp_path, "one", key="first")
    await worked(desk, tmp_path, "one", key="second")

    assert list((tmp_path / "one").iterdir()) == []
    assert pages(tmp_path) == {"one-2": "one", "one-3": "one"}


async def test_both_steps_are_remembered_with_their_cost(desk: World, tmp_path: Path):
    """A folder that cannot be written pauses the batch; when it can, nothing is bought again."""
    place = tmp_path / "drafts"
    place.write_text("in the way")
    paused = await worked(desk, place, "one", "two")
    assert paused["state"] == BatchState.PAUSED
    assert "drafts" in paused["reason"]
    assert paused["cost_micros"] > 8000  # what was bought counts, although nothing is closed
    assert (await items(desk, paused))["one"]["cost_micros"] == paused["cost_micros"]
    place.unlink()

    await desk.book.orders.resume(paused["id"])
    batch = await worked(desk, place, "one", "two")

    assert (batch["id"], batch["state"], batch["succeeded"]) == (paused["id"], BatchState.DONE, 2)
    assert await desk.calls("tavily") == await desk.calls("openai") == {"one": 1, "two": 1}
    closed = await items(desk, batch)
    assert batch["cost_micros"] == sum(it["cost_micros"] for it in closed.values())
    assert all(it["result"]["cost_micros"] == it["cost_micros"] for it in closed.values())


async def test_a_folder_in_place_before_it_was_settled_is_found_again(
    desk: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):

    def keep_and_die(*said: Any, **more: Any) -> Any:
        keep(*said, **more)
        raise OSError(5, "gone at the worst moment")

    with monkeypatch.context() as dying:
        dying.setattr("muster.workloads.articles.keep", keep_and_die)
        paused = await worked(desk, tmp_path, "one")
    (tmp_path / ".muster-left").mkdir()
    await desk.book.orders.resume(paused["id"])

    batch = await worked(desk, tmp_path, "one")

    assert batch["succeeded"] == 1
    assert pages(tmp_path) == {"one": "one"}
    assert (await items(desk, batch))["one"]["result"]["folder"] == "one"


async def test_few_sources_are_warned_of_and_none_is_a_failure(desk: World, tmp_path: Path):
    batch = await worked(desk, tmp_path, "sim-few", "sim-empty", "plain", continue_on_error=True)

    ends = {name: it["state"] for name, it in (await items(desk, batch)).items()}
    assert ends == {"sim-few": "succeeded", "sim-empty": "failed", "plain": "succeeded"}
    events = await desk.book.readings.events(batch["id"], 100)
    assert [it["message"] for it in events if it["level"] == "WARNING"] == ["Only 1 source found; check what it says."]
    assert "Only 1 source found" in (tmp_path / "sim-few" / "index.html").read_text()
    assert "sim-empty" not in await desk.calls("openai")


async def test_an_article_that_was_cut_off_is_kept_and_marked(desk: World, tmp_path: Path):
    batch = await worked(desk, tmp_path, "sim-cut-off")

    assert (await items(desk, batch))["sim-cut-off"]["error_kind"] == "cut_off"
    assert "the end is missing" in (tmp_path / "sim-cut-off" / "index.html").read_text()


@pytest.mark.parametrize(("upstream", "key"), [("tavily", "sim-broke"), ("tavily", "sim-denied"),
                                               ("openai", "sim-broke"), ("openai", "sim-denied")])  # fmt: skip
async def test_a_key_without_money_or_rights_stops_the_batch_at_once(
    desk: World, tmp_path: Path, upstream: str, key: str
):
    desk.set(**{f"{upstream}_api_key": SecretStr(key)})

    batch = await worked(desk, tmp_path, "one", "two", "three", continue_on_error=True)

    assert (batch["state"], batch["remaining"]) == (BatchState.FAILED, 3)
    assert batch["reason"].startswith(upstream)
    assert sum((await desk.calls("tavily")).values()) == 1
    desk.set(**{f"{upstream}_api_key": SecretStr("sim")})
    await desk.book.orders.resume(batch["id"])
    again = await worked(desk, tmp_path, "one", "two", "three", continue_on_error=True)
    assert again["succeeded"] == 3
    assert set((await desk.calls("openai")).values()) <= {1, 2}


async def test_without_a_key_for_the_second_upstream_nothing_is_bought(desk: World, tmp_path: Path):
    desk.set(openai_api_key=None)

    batch = await worked(desk, tmp_path, "one", "two")

    assert batch["state"] == BatchState.FAILED
    assert batch["reason"] == "OPENAI_API_KEY is not set; set it and resume the batch."
    assert await desk.calls("tavily") == {}


async def test_the_first_failure_ends_it_also_over_several_lanes(desk: World, tmp_path: Path):
    desk.least_lanes = 3
    keywords = [f"k{n}" for n in range(20)]
    keywords[6] = "sim-reject"

    batch = await worked(desk, tmp_path, *keywords, parallel=3)

    closed = Counter(it["state"] for it in (await items(desk, batch)).values())
    assert batch["state"] == BatchState.FAILED
    assert closed[ItemState.FAILED] == 1
    assert closed[ItemState.RUNNING] == 0
    assert set(await desk.calls("tavily")) <= set(keywords[:9])  # three at once, none after the failure
    assert "'sim-reject'" in batch["reason"]


async def test_used_up_tries_are_a_failure_too(desk: World, tmp_path: Path):
    desk.set(tries=1)

    batch = await worked(desk, tmp_path, "sim-500", "two", "three")

    assert (batch["state"], batch["failed"], batch["remaining"]) == (BatchState.FAILED, 1, 2)


async def test_the_second_upstreams_rate_is_kept_to_and_its_429_slows_it_alone(desk: World, tmp_path: Path):
    await desk.book.upstreams.set("openai", {"per_minute": 60, "concurrency": 1})

    batch = await worked(desk, tmp_path, "one", "two", "sim-429-once", parallel=3)

    assert batch["succeeded"] == 3
    rows = {it["name"]: it for it in await desk.book.upstreams.all()}
    assert rows["openai"]["next_at"] is not None
    assert (rows["openai"]["in_flight"], rows["tavily"]["in_flight"]) == (0, 0)


async def test_testing_mode_takes_five_keywords(desk: World, tmp_path: Path):
    only = {"keywords": [f"k{n}" for n in range(9)], "output_dir": str(tmp_path), "name": "x"}
    (batch,) = await desk.run("articles", only=only, mode=Mode.TESTING)

    assert batch["total"] == 5
