"""The picture of a run: the lines that people and their scripts know from the seed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from entrypoints.cli.picture import RULE, Pace, Seen, picture, succeeded, verdict
from muster.selection import Decision

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def a_batch(client: str, **said: Any) -> dict[str, Any]:
    counts = {"total": 128, "succeeded": 125, "skipped": 0, "failed": 3, "cancelled": 0, "remaining": 0}
    about = {"id": 7, "client_id": client, "workload": "prompts", "state": "done", "reason": None}
    return {**about, **counts, "driver_runs": 1, "beat_at": None, **said}


def seen(*batches: Mapping[str, Any], run: str = "running", troubles: tuple[str, ...] = (), **more: Any) -> Seen:
    names = {"acme": "Acme Corp", "beta": "Beta Inc", "gone": "Gone Ltd"}
    decisions = [
        Decision("acme", True, ("prompts",), None),
        Decision("beta", True, ("prompts",), None),
        Decision("gone", False, (), "client is inactive"),
    ]
    return Seen({"state": run}, names, decisions, batches, troubles, **{"now": NOW, **more})


WORKING = a_batch(
    "beta", state="in_progress", total=112, succeeded=50, failed=0, remaining=62, driver_runs=15,
    beat_at=NOW - timedelta(seconds=3),
)  # fmt: skip


def test_the_picture_has_the_seeds_lines():
    lines = picture(seen(a_batch("acme"), WORKING), 15, 150.2, 4.1)

    assert lines == [
        "⏱  Iteration 15 (elapsed: 150s)",
        RULE,
        "  ✅ Acme Corp · prompts                  | done        | 100% | 125/128 completed, 3 failed, 0 remaining",
        "  🔄 Beta Inc · prompts                   | in progress |  44% | 50/112 completed, 0 failed, 62 remaining",
        "     🔄 Driver active: 15 runs, last beat 3s ago",
        "  – Gone Ltd                             | left out    | client is inactive",
        RULE,
        "  Summary: 1 done, 1 in progress or queued, 0 failed",
        "  Overall: 178/240 items (175 completed, 3 failed), 4.1 items/s, about 0:00:15 left",
    ]


def test_what_holds_items_up_is_named_between_the_rules():
    lines = picture(seen(WORKING, troubles=("gemini asked to wait",)), 1, 0, None)

    assert lines.index("  ⚠ gemini asked to wait") < lines.index(RULE, 2)
    assert lines[-1] == "  Overall: 50/112 items (50 completed, 0 failed)"


def test_failed_items_are_processed_and_the_verdict_is_success():
    over = seen(a_batch("acme"), run="done")

    assert over.is_over
    assert succeeded(over)
    said = verdict(over, None)
    assert said[:7] == [
        "✅ SUCCESS: every item of every client was processed",
        "✅ Acme Corp",
        "   Status: done",
        "   Progress: 128/128 (100%)",
        "   Completed: 125",
        "   Failed: 3",
        "   Remaining: 0",
    ]
    assert said[7:] == ["– Beta Inc: nothing to do", "– Gone Ltd: client is inactive"]


def test_open_items_make_it_a_failure_that_names_them():
    stopped = a_batch("acme", state="failed", succeeded=35, failed=6, remaining=87, reason="no key.")
    said = verdict(seen(stopped, run="failed"), None)

    assert said[0] == "❌ FAILURE: some items remain open"
    assert "   Progress: 41/128 (32%)" in said
    assert "   ❌ INCOMPLETE: 87 items of batch 7 not processed: no key. To go on: muster resume 7" in said


def test_nearly_all_is_not_a_hundred_per_cent():
    said = picture(seen(a_batch("acme", state="in_progress", total=1000, succeeded=996, remaining=1)), 1, 0, None)

    assert "|  99% |" in said[2]


def test_a_night_with_nothing_to_do_is_a_success_with_a_reason_for_each_client():
    said = verdict(seen(run="done"), None)

    assert said == [
        "✅ SUCCESS: there was nothing to do",
        "– Acme Corp: nothing to do",
        "– Beta Inc: nothing to do",
        "– Gone Ltd: client is inactive",
    ]


def test_the_rate_is_that_of_the_last_minute():
    pace = Pace()
    at = [
        seen(a_batch("acme", remaining=128 - n), now=NOW + timedelta(seconds=s))
        for s, n in ((0, 0), (50, 100), (100, 110))
    ]

    assert [pace.see(it) for it in at] == [None, 2.0, 0.2]
