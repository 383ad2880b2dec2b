"""The story batch's test plan (seed 004): every tick of it, the test that stands for it, and those that are here."""

from pathlib import Path
from typing import Final

import httpx
import orjson
import pytest

from muster.limits import Mode
from muster.planning import Wanted, open_run
from muster.simulator.stories import has_story
from muster.states import BatchState
from tests.drain import World

TESTS: Final = Path(__file__).parents[2]
HANDLES: Final = [f"p{n}" for n in range(12)]
STORIES, PAIRS, API = (
    "muster/workloads/test_stories.py",
    "muster/ledger/test_pairs.py",
    "entrypoints/test_api_batches.py",
)
HERE, BLAME = "muster/workloads/test_story_plan.py", "muster/upstreams/test_blame.py"

TICKS: Final = {
    # Phase 1, its helpers, are `niche` and `profile`, the simulator behind `World`, and `World.pairs`.
    "2 Verify batch fields": (HERE, "test_verify_batch_fields_and_initial_queued_state"),
    "2 Verify initial queued state": (HERE, "test_verify_batch_fields_and_initial_queued_state"),
    "2 Status transitions (queued -> in_progress -> done)": (HERE, "test_status_transitions_queued_in_progress_done"),
    "2 Record check updates": (HERE, "test_record_check_updates_checked_found_and_completion_rate"),
    "3 Create batch: success with valid profiles": (API, "test_create_batch_with_valid_profiles"),
    "3 Create batch: error with invalid data": (API, "test_create_batch_with_invalid_data"),
    "3 Start batch: success for queued batch": (API, "test_start_queued_batch"),
    "3 Start batch: error for invalid batch": (API, "test_start_invalid_batch"),
    "3 Prevent concurrent batch processing (409)": (API, "test_concurrent_starts_get_a_409_response"),
    "3 Verify batch listing with stats": (API, "test_batch_listing_with_stats"),
    "4 Get available proxy from pool": (PAIRS, "test_get_available_proxy_from_pool"),
    "4 Verify proxy before use": (PAIRS, "test_verify_proxy_before_use"),
    "4 Handle proxy validation failures": (PAIRS, "test_handle_proxy_validation_failures"),
    "4 Release proxy after use": (PAIRS, "test_release_proxy_after_use"),
    "4 Handle rate limit detection": (BLAME, "test_rate_limit_detection"),
    "4 Cooldown period management": (PAIRS, "test_cooldown_period"),
    "4 Retry with different proxy": (STORIES, "test_retry_with_different_proxy_after_rate_limit"),
    "5 Get worker for each profile": (HERE, "test_get_worker_for_each_profile"),
    "5 Process profiles sequentially": (HERE, "test_process_profiles_sequentially"),
    "5 Handle worker unavailability": (STORIES, "test_worker_unavailability"),
    "5 Update batch progress": (HERE, "test_record_check_updates_checked_found_and_completion_rate"),
    "5 Handle profile check failures": (STORIES, "test_handle_profile_check_failures"),
    "5 Handle proxy validation failures": (STORIES, "test_handle_proxy_validation_failures"),
    "5 Handle rate limits with retries": (STORIES, "test_retry_with_different_proxy_after_rate_limit"),
    "5 Clear errors after successful retries": (STORIES, "and_clears_the_error"),
    "6 Complete workflow, results update correctly": (STORIES, "test_complete_workflow_updates_results_correctly"),
    "6 Just-in-time proxy assignment": (HERE, "test_get_worker_for_each_profile_just_in_time"),
    "6 Handle multiple batches": (HERE, "test_multiple_batches_reuse_the_proxies"),
    "6 Verify proxy reuse": (HERE, "test_multiple_batches_reuse_the_proxies"),
    "6 Verify proper queuing": (API, "test_proper_queuing"),
    "6 Verify 409 response for concurrent starts": (API, "test_concurrent_starts_get_a_409_response"),
    "6 Retry after rate limit, batch completion after it": (
        STORIES,
        "test_retry_with_different_proxy_after_rate_limit",
    ),
    "6 Track and cleanup sessions": (STORIES, "test_sessions_are_tracked_and_cleaned_up"),
    "6 Prevent session leaks": (STORIES, "test_sessions_are_tracked_and_cleaned_up"),
    "6 Proper proxy release": (PAIRS, "test_release_proxy_after_use"),
}


@pytest.mark.parametrize("tick", TICKS)
def test_every_tick_of_the_plan_has_its_test(tick: str):
    file, name = TICKS[tick]

    assert any(
        name in line for line in (TESTS / file).read_text().splitlines() if line.startswith(("async def ", "def "))
    )


async def checked(world: World, handles: list[str] = HANDLES, **set_: object) -> World:
    await world.client("acme", handles)
    world.set(**set_)
    return world


async def test_verify_batch_fields_and_initial_queued_state(world: World):
    await checked(world)
    await world.book.stories.put_niche("acme", "travel", 4)
    rows = [{"client_id": "acme", "platform": "linkedin", "handle": it, "niche": "travel"} for it in HANDLES[:7]]
    await world.book.profiles.put([{**row, "url": None, "data": {}} for row in rows])
    wanted = Wanted("night", "test", Mode.NORMAL, ("stories",), ("acme",), only={"niche": "travel"})
    await open_run(world.book, world.settings, wanted)

    (batch,) = await world.book.readings.batches_of_key("night")

    assert batch["id"]
    assert (batch["client_id"], batch["workload"], batch["request"]) == ("acme", "stories", {"niche": "travel"})
    assert (batch["state"], batch["total"], batch["target"]) == (BatchState.QUEUED, 7, 4)
    assert [batch[it] for it in ("succeeded", "skipped", "failed", "cancelled", "gained")] == [0] * 5
    assert batch["created_at"] is not None
    assert (batch["started_at"], batch["closed_at"]) == (None, None)


async def test_status_transitions_queued_in_progress_done(world: World):
    (batch,) = await (await checked(world)).run("stories")

    events = await world.book.readings.events(batch["id"], 10_000)
    kinds = [it["kind"] for it in sorted(events, key=lambda it: it["id"]) if it["kind"].startswith("batch.")]
    assert [it for it in kinds if it not in {"batch.progress", "batch.taken"}] == [
        "batch.queued", "batch.started", "batch.done",
    ]  # fmt: skip
    assert batch["created_at"] <= batch["started_at"] <= batch["closed_at"]


async def test_record_check_updates_checked_found_and_completion_rate(world: World):
    (batch,) = await (await checked(world)).run("stories")

    found = sum(has_story(0, it) for it in HANDLES)
    assert (batch["succeeded"], batch["gained"], batch["total"]) == (12, found, 12)
    events = await world.book.readings.events(batch["id"], 10_000)
    rates = [it["data"]["percent"] for it in reversed(events) if it["kind"] == "batch.progress"]
    assert rates
    assert rates == sorted(rates)


async def test_get_worker_for_each_profile_just_in_time(world: World):
    """A pair is leased when a check begins and given back when it ends; before that nobody holds one."""
    (batch,) = await (await checked(world)).run("stories")

    events = await world.book.readings.events(batch["id"], 10_000)
    by_item: dict[int, list[str]] = {}
    for event in sorted(events, key=lambda it: it["id"]):
        if event["item_id"] and event["kind"].startswith(("check.", "pair.")):
            by_item.setdefault(event["item_id"], []).append(event["kind"])
    assert list(by_item.values()) == [["check.started", "pair.leased", "pair.released", "check.ended"]] * 12


async def test_process_profiles_sequentially(world: World):
    world.least_lanes = 1
    (batch,) = await (await checked(world)).run("stories")

    response = await world.transport.handle_async_request(httpx.Request("GET", "http://simulator/_sim/calls"))
    assert orjson.loads(await response.aread())["max_in_flight"]["stories"] == 1
    events = await world.book.readings.events(batch["id"], 10_000)
    begun = [it["item_id"] for it in sorted(events, key=lambda it: it["id"]) if it["kind"] == "check.started"]
    assert begun == sorted(begun)


async def test_multiple_batches_reuse_the_proxies(world: World):
    await checked(world)
    await world.client("birch", HANDLES)

    batches = await world.run("stories")

    assert [(it["client_id"], it["state"], it["succeeded"]) for it in batches] == [
        ("acme", BatchState.DONE, 12), ("birch", BatchState.DONE, 12),
    ]  # fmt: skip
    assert min(it["requests"] for it in await world.book.pairs.all()) >= 24 // 4


@pytest.mark.parametrize("size", [0, 1, 7, 300])
async def test_various_batch_sizes(world: World, size: int):
    await checked(world, [f"s{n}" for n in range(size)], stories_parallel=8)
    await world.book.clients.put([{"id": "acme", "profiles_limit": 1000}])

    batches = await world.run("stories")

    assert [(it["state"], it["succeeded"]) for it in batches] == [(BatchState.DONE, size)] * bool(size)
