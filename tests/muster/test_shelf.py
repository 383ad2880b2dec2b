"""The contract that every workload on the shelf keeps; a new one is tested the moment it is shelved."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import muster.workloads
from muster.landing import NewItem
from muster.ledger.tables import Client
from muster.limits import Limits, Mode, limits_for
from muster.settings import Settings
from muster.states import BatchState, ItemState
from muster.workloads import SHELF, workload_named
from tests.drain import World
from tests.factories import some_limits

every_workload = pytest.mark.parametrize("name", list(SHELF))


async def planned(world: World, name: str, limits: Limits) -> list[NewItem]:
    (client,) = await world.book.clients.all()
    workload = workload_named(name, world.settings)
    asked = asked_for(name, [f"p{n}" for n in range(30)], "drafts")
    planned = [item async for item in workload.plan(world.book, client, limits, asked)]
    return planned[: workload.terms(limits).items]


def asked_for(name: str, handles: list[str], folder: Path | str) -> dict[str, Any]:
    """What a request says of work that is not the ledger's."""
    here = {"keywords": handles, "output_dir": str(folder), "continue_on_error": True}
    return here if name == "articles" else {}


def test_every_file_of_the_folder_is_on_the_shelf():
    files = {path.stem for path in Path(muster.workloads.__file__).parent.glob("*.py")} - {"__init__"}

    assert files == set(SHELF)


@every_workload
def test_it_is_shelved_under_its_own_name_and_needs_settings_that_are_there(name: str):
    assert SHELF[name].name == name
    assert set(SHELF[name].needs) <= set(Settings.model_fields)


@every_workload
async def test_its_plan_is_the_same_every_time_and_its_keys_are_unique(world: World, name: str):
    await world.client("acme", [f"p{n}" for n in range(30)], posts_target=5)

    first, second = [await planned(world, name, some_limits(posts_target=5)) for _ in range(2)]

    assert first == second
    assert len({item.key for item in first}) == len(first) == 30


@every_workload
async def test_its_plan_keeps_to_the_limits(world: World, name: str):
    await world.client("acme", [f"p{n}" for n in range(30)], posts_target=5)
    limits = some_limits(profiles=3, batch_size=3, max_batches=1, posts_target=5, prompts=3, keywords=3)

    assert len(await planned(world, name, limits)) <= 3
    assert workload_named(name, world.settings).terms(limits).items == 3


@every_workload
def test_a_limit_of_zero_bars_it_with_a_reason(name: str):
    nothing = some_limits(profiles=0, max_batches=0, posts_target=0, prompts=0, keywords=0)

    assert workload_named(name, Settings.read()).bar(nothing)


@every_workload
def test_testing_mode_bars_nobody_for_want_of_a_target(name: str):
    client = Client(id="acme", name="acme")

    assert workload_named(name, Settings.read()).bar(limits_for(Settings.read(), client, Mode.TESTING, name)) is None


@every_workload
@pytest.mark.parametrize(
    ("word", "ends"),
    [
        ("plain", {ItemState.SUCCEEDED, ItemState.SKIPPED}),
        ("sim-flaky", {ItemState.SUCCEEDED, ItemState.SKIPPED}),
        ("sim-429-once", {ItemState.SUCCEEDED, ItemState.SKIPPED}),
        ("sim-500", {ItemState.FAILED}),
        ("sim-html", {ItemState.FAILED}),
        ("sim-reject", {ItemState.FAILED}),
        ("sim-huge", {ItemState.FAILED}),
    ],
)
async def test_whatever_the_upstream_does_the_item_ends_as_it_should(
    world: World, name: str, word: str, ends: set[ItemState], tmp_path: Path
):
    world.set(tries=2)
    handles = [f"{word}-{n}" for n in range(3)]
    await world.client("acme", handles, posts_target=50)

    (batch,) = await world.run(name, only=asked_for(name, handles, tmp_path))

    assert batch["state"] == BatchState.DONE
    assert {item["state"] async for item in world.book.readings.items(batch["id"])} <= ends


@every_workload
async def test_its_key_shows_nowhere(world: World, name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path):
    key = SecretStr("sim-denied-topsecret")
    world.set(openai_api_key=key, apify_token=key, tavily_api_key=key)
    await world.client("acme", ["ada"], posts_target=5)

    (batch,) = await world.run(name, only=asked_for(name, ["ada"], tmp_path))

    kept = [
        dict(batch),
        *await world.book.readings.events(batch["id"]),
        *await world.book.readings.attempts(batch["id"]),
    ]
    assert "topsecret" not in str(kept) + caplog.text + repr(world.settings)
