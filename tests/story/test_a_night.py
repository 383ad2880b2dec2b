"""Read these first: what Muster promises, one promise a test."""

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from muster.errors import WrongState
from muster.ledger.domain import POST, PROFILE
from muster.limits import Mode
from muster.planning import Wanted, open_run
from muster.states import BatchState
from tests.drain import World, profile


async def test_a_profile_gets_its_score_and_its_posts(world: World):
    await world.client("acme", ["ada"], posts_target=10)

    await world.run("profiles", "posts")

    async with world.book.database.reading() as tx:
        (ada,) = await tx.rows(select(PROFILE))
        posts = await tx.rows(select(POST))
    assert 0 <= ada["score"] <= 100
    assert ada["score_reason"]
    assert ada["scored_at"] is not None
    assert 1 <= len(posts) <= 2  # two of a profile are the client's limit
    assert {post["profile_id"] for post in posts} == {ada["id"]}


async def test_every_item_ends_in_exactly_one_recorded_state(world: World):
    await world.client("acme", ["ada", "sim-500-bob", "sim-reject-cyd", "sim-flaky-dan", "sim-gone-eve"])

    (batch,) = await world.run("profiles")

    assert batch["state"] == BatchState.DONE
    assert batch["succeeded"] + batch["skipped"] + batch["failed"] == batch["total"] == 5
    assert {it["key"] for it in await world.book.readings.failures(batch["id"])} >= {
        "linkedin/sim-500-bob",
        "linkedin/sim-reject-cyd",
    }


async def test_a_run_opened_twice_is_opened_once(world: World):
    await world.client("acme", ["ada", "bob"], posts_target=10)
    first = await world.run()

    second = await world.run()

    assert [it["id"] for it in second] == [it["id"] for it in first]
    assert set((await world.calls("openai")).values()) == {1}
    assert set((await world.calls("apify")).values()) == {1}


async def test_the_posts_target_is_never_passed_and_the_rest_says_why(world: World):
    await world.client("acme", [f"p{n}" for n in range(30)], posts_target=7)

    (batch,) = await world.run("posts")

    assert (batch["gained"], batch["state"], batch["remaining"]) == (7, BatchState.DONE, 0)
    assert batch["skipped"] > 0
    assert len(await world.calls("apify")) < 30


@pytest.mark.parametrize("word", ["sim-few", "sim-many"])
async def test_profiles_that_give_fewer_or_more_posts_than_asked_do_not_move_the_target(world: World, word: str):
    await world.client("acme", [f"{word}-{n}" for n in range(20)], posts_target=9)

    (batch,) = await world.run("posts")

    async with world.book.database.reading() as tx:
        posts = await tx.rows(select(POST.c.profile_id, POST.c.external_id))
    assert batch["gained"] == len(posts) == 9
    assert len({(post["profile_id"], post["external_id"]) for post in posts}) == 9


async def test_a_lead_whose_call_failed_stays_harvestable_and_one_without_posts_is_said_to_have_none(world: World):
    await world.client("acme", ["sim-empty-ada", "sim-500-bob"], posts_target=10)

    (batch,) = await world.run("posts")
    again = await world.run("posts", key="next")

    async with world.book.database.reading() as tx:
        states = {
            row["handle"]: (row["state"], row["harvested_at"] is not None) for row in await tx.rows(select(PROFILE))
        }
    assert states == {"sim-empty-ada": ("no_posts", True), "sim-500-bob": ("active", False)}
    assert (batch["skipped"], batch["failed"]) == (1, 1)
    assert [it["total"] for it in again] == [1]  # bob


async def test_testing_mode_is_a_small_live_sample(world: World):
    for n in range(7):
        handles = [f"c{n}p{k}" for k in range(9)]
        await world.client(f"c{n}", handles, state="inactive", service_level=0, posts_target=50)

    batches = await world.run(mode=Mode.TESTING)

    scored, harvested = await world.calls("openai"), await world.calls("apify")
    assert {it["client_id"] for it in batches} == {"c0", "c1", "c2", "c3", "c4"}
    assert all(it["total"] <= 5 for it in batches)
    assert all(it["gained"] <= 5 for it in batches)
    assert len(scored) == 25
    assert len(harvested) <= 25
    async with world.book.database.reading() as tx:
        posts = [row["profile_id"] for row in await tx.rows(select(POST))]
    assert max(posts.count(it) for it in posts) <= 2


async def test_one_clients_trouble_never_stops_another(world: World):
    await world.client("acme", ["sim-500-a", "sim-reject-b"])
    await world.client("beta", ["ada", "bob"])

    acme, beta = await world.run("profiles")

    assert (acme["state"], acme["failed"]) == (BatchState.DONE, 2)
    assert (beta["state"], beta["succeeded"]) == (BatchState.DONE, 2)


async def test_a_wrong_key_costs_a_few_calls_and_no_item(world: World):
    await world.client("acme", [f"p{n}" for n in range(60)])
    world.set(openai_api_key=SecretStr("sim-denied"))

    (batch,) = await world.run("profiles")
    assert batch["state"] == BatchState.FAILED
    assert "401" in batch["reason"]
    assert batch["remaining"] == 60
    assert sum((await world.calls("openai")).values()) <= 12  # what was in flight

    world.set(openai_api_key=SecretStr("good"))
    (batch,) = await world.run("profiles")
    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 60)


async def test_a_missing_key_is_named_and_nothing_is_called(world: World):
    await world.client("acme", ["ada"])
    world.set(openai_api_key=None)

    (batch,) = await world.run("profiles")

    assert "OPENAI_API_KEY is not set" in batch["reason"]
    assert await world.calls("openai") == {}


async def test_a_profile_with_nothing_to_score_is_skipped_with_that_reason(world: World):
    await world.client("acme", [])
    await world.book.profiles.put([profile("acme", "blank", data={})])

    (batch,) = await world.run("profiles")

    (item,) = [item async for item in world.book.readings.items(batch["id"])]
    assert (item["state"], item["error"]) == ("skipped", "nothing to score: no headline, about or other data")


async def test_two_runs_that_planned_the_same_profiles_pay_for_each_once(world: World):
    await world.client("acme", ["ada", "bob"], posts_target=10)
    for key in ("one", "two"):
        await open_run(world.book, world.settings, Wanted(key, "test", Mode.NORMAL, ("profiles", "posts")))

    await world.run(key="one")
    late = await world.run(key="two")

    assert set((await world.calls("openai")).values()) == {1}
    assert set((await world.calls("apify")).values()) == {1}
    assert [(it["state"], it["skipped"]) for it in late] == [("done", 2), ("done", 2)]


async def test_a_sample_never_stands_where_the_real_night_belongs(world: World):
    await world.client("acme", ["ada"])
    await world.run("profiles", mode=Mode.TESTING)

    with pytest.raises(WrongState, match="testing mode"):
        await world.run("profiles", mode=Mode.NORMAL)


async def test_a_profile_without_an_address_is_accounted_for(world: World):
    await world.client("acme", ["ada"], posts_target=10)
    await world.book.profiles.put([profile("acme", "nowhere", url=None)])

    (batch,) = await world.run("posts")

    reasons = {item["key"]: item["error"] async for item in world.book.readings.items(batch["id"])}
    assert reasons["linkedin/nowhere"] == "the profile has no address"
