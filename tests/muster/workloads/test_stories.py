"""`stories`: the ticks of the story batch's test plan, each a test; the site is behind httpx's seam."""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from muster.errors import NotFound
from muster.ledger.database import Row, Tx
from muster.ledger.domain import PROFILE
from muster.ledger.pool import PROXY
from muster.limits import Mode
from muster.planning import Wanted, open_run
from muster.simulator.stories import has_story, id_of
from muster.states import BatchState, ItemState, SessionState
from muster.upstreams.stories import OPEN_CLIENTS
from tests.drain import World, a_pair

HANDLES = [f"p{n}" for n in range(20)]
FOUND = [it for it in HANDLES if has_story(0, it)]


@pytest.fixture
async def site(world: World) -> World:
    """A world with one client, twenty profiles and four pairs; one check after the other."""
    await world.client("acme", HANDLES)
    return world


async def profiles(world: World) -> dict[str, Row]:
    rows = await world.book.database.read(lambda tx: tx.rows(select(PROFILE)))
    return {row["handle"]: row for row in rows}


async def items(world: World, batch: Row) -> list[Row]:
    return [it async for it in world.book.readings.items(batch["id"])]


async def kinds(world: World, batch: Row) -> Counter[str]:
    return Counter(it["kind"] for it in await world.book.readings.events(batch["id"], 10_000))


async def only_pairs(world: World, *sessions: str) -> None:
    """These pairs and no others."""
    used = list(enumerate(sessions, 1))
    await world.book.pairs.put([a_pair(f"{at}.proxy:8080", session) for at, session in used])


async def free(world: World) -> bool:
    held = select(PROXY.c.id).where(PROXY.c.holder.is_not(None))
    return not OPEN_CLIENTS and not await world.book.database.read(lambda tx: tx.rows(held))


async def test_complete_workflow_updates_results_correctly(site: World):
    (batch,) = await site.run("stories")

    assert (batch["state"], batch["total"], batch["succeeded"]) == (BatchState.DONE, 20, 20)
    assert batch["gained"] == len(FOUND)
    for handle, it in (await profiles(site)).items():
        assert it["active_story"] == (handle in FOUND)
        assert (it["last_story_detected"] is not None) == (handle in FOUND)
        assert (it["total_checks"], it["total_detections"]) == (1, int(handle in FOUND))
        assert it["story_id"] == id_of(handle)
        assert it["last_checked"] is not None
    assert await free(site)


async def test_stats_are_never_counted_twice_and_no_story_sets_active_story_to_false(site: World):
    await site.run("stories", key="one")

    async def pretend(tx: Tx) -> None:
        await tx.run(update(PROFILE).values(active_story=True))

    await site.book.database.write(pretend)
    (again,) = await site.run("stories", key="two")

    for handle, it in (await profiles(site)).items():
        assert it["active_story"] == (handle in FOUND)
        assert (it["total_checks"], it["total_detections"]) == (2, 2 * (handle in FOUND))
    assert again["gained"] == 0  # each of these profiles was found with a story before on this day


async def test_the_id_is_looked_up_once_and_then_cached(site: World):
    await site.run("stories", key="one")
    first = sum((await site.calls("stories")).values())
    await site.run("stories", key="two")

    assert (first, sum((await site.calls("stories")).values())) == (40, 60)


async def test_batch_creation_assigns_no_proxy_and_begins_queued(site: World):
    limits = await opened(site)

    (batch,) = await site.book.readings.batches_of_key("night")
    assert batch["state"] == BatchState.QUEUED
    assert await free(site)
    assert (limits["lanes"], limits["in_flight"]) == (1, 1)  # process profiles sequentially
    assert await kinds(site, batch) == {"batch.queued": 1}


async def opened(world: World) -> dict[str, Any]:
    await open_run(world.book, world.settings, Wanted("night", "test", Mode.NORMAL, ("stories",)))
    (batch,) = await world.book.readings.batches_of_key("night")
    return dict(batch["limits"])


async def test_parallel_checks_are_asked_for(site: World):
    site.set(stories_parallel=6)

    limits = await opened(site)

    assert (limits["lanes"], limits["in_flight"]) == (3, 2)


async def test_retry_with_different_proxy_after_rate_limit_uses_no_try_and_clears_the_error(site: World):
    site.set(tries=1)
    await only_pairs(site, "sim-limit-0", "sim-limit-2")

    (batch,) = await site.run("stories")

    attempts = await site.book.readings.attempts(batch["id"])
    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 20)
    assert {(it["error_kind"], it["status_code"]) for it in attempts} == {("resource", 429)}
    assert {it["resource"] for it in attempts} == {"pair 1", "pair 2"}
    assert all(it["error"] is None and it["tries"] == 1 for it in await items(site, batch))
    rests = {it["id"]: it["cooldown_until"] is not None for it in await site.book.pairs.all()}
    assert rests == {1: True, 2: True, 3: False, 4: False}


@pytest.mark.parametrize("session", ["sim-denied-x", "sim-expire-0"])
async def test_handle_proxy_validation_failures_a_spent_session_leaves_no_profile_unchecked(site: World, session: str):
    await only_pairs(site, session)

    (batch,) = await site.run("stories")

    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 20)
    spent = [it["id"] for it in await site.book.pairs.all() if it["session"] == SessionState.DISABLED]
    assert spent == [1]


async def test_without_a_usable_pair_the_batch_pauses_with_the_reason_and_goes_on_when_resumed(site: World):
    await only_pairs(site, "sim-denied-a", "sim-denied-b", "sim-expire-3", "sim-expire-3b")

    (batch,) = await site.run("stories")

    assert batch["state"] == BatchState.PAUSED
    assert "no endpoint pair is usable: of 4" in batch["reason"]
    assert 0 < batch["succeeded"] < 20
    states = {it["state"] for it in await items(site, batch)}
    assert ItemState.PENDING in states
    assert states <= {ItemState.SUCCEEDED, ItemState.PENDING, ItemState.WAITING}
    await only_pairs(site, "one", "two")
    await site.book.orders.resume(batch["id"])
    (batch,) = await site.run("stories")
    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 20)
    counted = await kinds(site, batch)
    assert counted["batch.paused"] == counted["batch.done"] == counted["batch.started"] == 1
    assert all(it["total_checks"] == 1 for it in (await profiles(site)).values())


async def test_worker_unavailability_makes_the_item_wait_and_holds_no_slot(site: World):
    """All pairs are in use elsewhere: items wait with a time before which they are not tried, and nothing is called."""

    async def elsewhere(tx: Tx) -> None:
        now = await tx.now()
        await tx.run(update(PROXY).values(holder="x", item_id=0, leased_until=now + timedelta(seconds=0.5)))

    await site.book.database.write(elsewhere)
    site.set(pair_spacing_seconds=0.3)
    await site.client("acme", HANDLES[:2], profiles_limit=2)

    (batch,) = await site.run("stories")

    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 2)
    assert await site.book.readings.attempts(batch["id"]) == []
    assert all(it["tries"] == 1 for it in await items(site, batch))


async def test_handle_profile_check_failures_one_that_is_not_there_is_rejected_and_the_others_go_on(site: World):
    await site.client("acme", ["nobody-there", "sim-gone-1"])

    (batch,) = await site.run("stories")

    assert (batch["succeeded"], batch["failed"]) == (20, 2)
    failed = await site.book.readings.failures(batch["id"])
    assert {it["error_kind"] for it in failed} == {"rejected"}
    assert (await profiles(site))["nobody-there"]["active_story"] is None


async def niche(world: World, name: str, handles: Sequence[str], target: int, client: str = "acme") -> None:
    await world.book.stories.put_niche(client, name, target)
    rows = [{"client_id": client, "platform": "linkedin", "handle": it, "niche": name} for it in handles]
    await world.book.profiles.put([{**row, "url": None, "data": {}} for row in rows])


async def test_a_niches_daily_target_is_never_passed_and_the_rest_is_skipped(site: World):
    await niche(site, "travel", HANDLES, 3)

    (batch,) = await site.run("stories", only={"niche": "travel"})

    assert (batch["target"], batch["gained"]) == (3, 3)
    assert batch["total"] == batch["succeeded"] + batch["skipped"] == 20
    skipped = {it["error"] for it in await items(site, batch) if it["state"] == ItemState.SKIPPED}
    assert skipped == {"target reached"}
    assert sum(bool(it["active_story"]) for it in (await profiles(site)).values()) == 3


async def test_a_niche_that_has_reached_its_target_today_is_left_alone(site: World):
    await niche(site, "travel", HANDLES[:10], 1)
    await site.run("stories", only={"niche": "travel"}, key="one")

    batches = await site.run("stories", only={"niche": "travel"}, key="two")
    (whole,) = await site.run("stories", key="three")

    assert batches == []
    skipped = [it["key"] for it in await items(site, whole) if it["state"] == ItemState.SKIPPED]
    assert skipped == [f"linkedin/{it}" for it in HANDLES[:10]] or len(skipped) == 10


async def test_only_the_profiles_that_are_selected_are_checked(site: World):
    (batch,) = await site.run("stories", only={"profiles": ["p3", "p7"]})

    assert sorted(it["key"] for it in await items(site, batch)) == ["linkedin/p3", "linkedin/p7"]
    assert batch["request"] == {"profiles": ["p3", "p7"]}


@pytest.mark.parametrize("only", [{"niche": "none"}, {"profiles": ["p1", "none"]}])
async def test_what_is_selected_and_not_there_is_refused(site: World, only: dict[str, Any]):
    with pytest.raises(NotFound, match="none"):
        await site.run("stories", only=only)


async def test_without_a_pair_or_a_profile_nothing_is_opened(world: World):
    await world.book.clients.put([{"id": "acme"}])
    assert await world.run("stories") == []
    await world.pairs("one")

    assert await world.run("stories", key="again") == []
    reasons = [it.reason for n in (1, 2) for it in await world.book.runs.decisions(n)]
    assert reasons == ["stories: no endpoint pair is set up", "stories: no profile to check for stories"]


async def test_the_log_holds_each_kind_with_the_ids_of_batch_item_and_pair(site: World):
    await only_pairs(site, "sim-limit-0", "sim-denied")
    (batch,) = await site.run("stories")

    counted = await kinds(site, batch)
    assert counted["check.started"] == counted["check.ended"] == counted["pair.leased"] == counted["pair.released"]
    assert (counted["story.found"], counted["story.not_found"]) == (len(FOUND), 20 - len(FOUND))
    assert (counted["pair.rate_limited"], counted["pair.failed"], counted["check.retry"]) == (1, 1, 2)
    assert 5 <= counted["batch.progress"] <= 9  # one settle may close more than a tenth
    events = await site.book.readings.events(batch["id"], 10_000)
    begun = [it for it in events if it["kind"] == "check.started"]
    assert all(it["item_id"] and it["data"]["pair"] and it["data"]["profile"] for it in begun)
    (end,) = [it for it in events if it["kind"] == "batch.done"]
    assert (end["data"]["total"], end["data"]["succeeded"], end["data"]["gained"]) == (20, 20, len(FOUND))


async def test_sessions_are_tracked_and_cleaned_up_whatever_happens(site: World):
    """Also where the site never answers."""
    await site.client("acme", ["sim-hang-1"], profiles_limit=100)
    site.set(pair_lease_seconds=1.0, tries=2)

    (batch,) = await site.run("stories")

    assert (batch["succeeded"], batch["failed"]) == (20, 1)
    assert await free(site)


async def test_planted_secrets_show_nowhere(site: World, caplog: pytest.LogCaptureFixture):
    secret = {"username": "ann-topsecret", "password": "topsecret", "headers": {"x-app": "topsecret-header"}}
    pairs = [a_pair(f"{at}.topsecret:8080", f"sim-denied-topsecret{at}", **secret) for at in range(3)]
    await site.book.pairs.put(pairs)
    with caplog.at_level(logging.DEBUG):
        (batch,) = await site.run("stories")

    kept: list[Any] = [dict(batch), *await site.book.readings.events(batch["id"], 10_000)]
    kept += [*await site.book.readings.attempts(batch["id"]), *await items(site, batch)]
    assert "topsecret" not in str(kept)
    ours = [it.getMessage() for it in caplog.records if not it.name.startswith(("sqlalchemy", "aiosqlite"))]
    assert "topsecret" not in str(ours)
