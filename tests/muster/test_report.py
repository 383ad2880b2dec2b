"""What reports say: counts that add up, shapes that scripts rely on, cells that stay in their table."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.report import (
    batch_line,
    batch_markdown,
    cell,
    failure_rows,
    fairness,
    outcome_of,
    percent,
    run_line,
    run_markdown,
    table,
)
from muster.selection import Decision

COUNTS = ("succeeded", "skipped", "failed", "cancelled")
DECISIONS = [Decision("acme", True, ("profiles",), None), Decision("zeta", False, (), "client is paused")]


def a_batch(**said: Any) -> dict[str, Any]:
    batch: dict[str, Any] = {
        "id": 7,
        "client_id": "acme",
        "workload": "profiles",
        "state": "done",
        "succeeded": 5,
        "skipped": 2,
    }
    batch |= {"failed": 1, "cancelled": 0, "remaining": 0, "gained": 0, "target": None, "run_key": "run:1"}
    batch |= {"mode": "normal", "cost_micros": 1_234_567, "reason": None, "started_at": None, **said}
    return batch | {"total": sum(batch[name] for name in (*COUNTS, "remaining"))}


def a_run(**said: Any) -> dict[str, Any]:
    return {"key": "run:1", "mode": "normal", "state": "done", "error": None, **said}


def test_a_batch_has_the_shape_that_scripts_rely_on():
    assert batch_line(a_batch(gained=3)) == {
        "id": 7,
        "client": "acme",
        "workload": "profiles",
        "state": "done",
        "total": 8,
        "succeeded": 5,
        "skipped": 2,
        "failed": 1,
        "cancelled": 0,
        "remaining": 0,
        "gained": 3,
        "reason": None,
    }


def test_a_run_has_the_shape_that_scripts_rely_on():
    assert run_line(a_run(), DECISIONS, [a_batch()]) == {
        "run": "run:1",
        "mode": "normal",
        "state": "done",
        "clients": [
            {"id": "acme", "included": True, "reason": None},
            {"id": "zeta", "included": False, "reason": "client is paused"},
        ],
        "batches": [batch_line(a_batch())],
        "fairness": {"jain": 1.0, "waited": {}},
    }


@given(st.tuples(*[st.integers(0, 1000)] * 5))
def test_the_counts_in_words_add_up_to_the_batch(counts: tuple[int, ...]):
    batch = a_batch(**dict(zip((*COUNTS, "remaining"), counts, strict=True)))
    assert sum(int(number) for number in re.findall(r"\d+", outcome_of(batch))) == batch["total"]
    assert 0 <= percent(batch) <= 100
    assert (percent(batch) == 100) == (batch["remaining"] == 0)


def test_posts_are_told_against_their_target():
    assert (
        outcome_of(a_batch(workload="posts", target=10, gained=4))
        == "5 succeeded, 2 skipped, 1 failed, 4 of 10 posts gained"
    )


@pytest.mark.parametrize(
    "nasty",
    [
        "a|b",
        "a\\|b",
        "\\",
        "one\ntwo",
        "one\r\n| x | y |\n",
        "<script>alert(1)</script>",
        "`code`",
        "```\nblock",
        "[click](javascript:alert(1))",
        "![x](http://evil.test/x.png)",
        "&lt;script&gt;",
        "# heading",
        "\u2028next",
    ],
)
def test_a_cell_stays_in_its_table(nasty: str):
    lines = table(("one", "two"), [(nasty, "fine")]).split("\n")
    assert len(lines) == 3
    assert len(lines[2].splitlines()) == 1
    assert lines[2].count("|") == 3
    assert not re.search(r"[<>`\[\]\\]", lines[2])


@given(st.text())
def test_no_text_gets_out_of_a_cell(text: str):
    assert not re.search(r"[<>|`\[\]\\\n\r]|&(?!#\d+;)", cell(text))


def test_nothing_in_a_batchs_report_is_read_as_markdown_or_html():
    nasty = "<b>|`[x](y)\n\n# boo"
    said = batch_markdown(
        a_batch(client_id=nasty, reason=nasty, run_key=nasty),
        [{"state": "failed", "why": nasty, "n": 1}],
        [{"key": nasty, "state": "failed", "seconds": 1.25}],
    )
    assert not re.search(r"[<`\[]", said)
    assert "\n# boo" not in said
    assert "$1.2346" in said


def test_nothing_in_a_runs_report_is_read_as_markdown_or_html():
    nasty = "<b>|`[x](y)\n\n# boo"
    said = run_markdown(a_run(key=nasty, error=nasty), [Decision("zeta", False, (), nasty)], [])
    assert not re.search(r"[<`\[]", said)
    assert "\n# boo" not in said
    assert "Nothing to do." in said


def test_a_runs_report_accounts_for_every_client_and_item():
    said = run_markdown(a_run(), DECISIONS, [a_batch(), a_batch(id=8, client_id="birch", remaining=4)])
    assert "1 of 2 clients took part; 20 items, 4 of them open." in said
    assert "| zeta | client is paused |" in said
    assert "| birch | profiles |" in said


def test_failed_items_are_safe_to_show():
    (row,) = failure_rows([{"key": "<i>", "error_kind": "parse", "error": "a|b", "tries": 2}])
    assert row == {"item": "&#60;i&#62;", "cause": "parse", "error": "a&#124;b", "tries": 2}


def test_a_report_says_who_waited_longest_and_how_even_that_was():
    opened = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    at = {"created_at": opened, "closed_at": opened + timedelta(minutes=10)}
    quick = a_batch(**at, client_id="quick", started_at=opened)
    slow = a_batch(**at, client_id="slow", started_at=opened + timedelta(minutes=5))
    never = a_batch(**at, client_id="never", started_at=None)

    assert fairness([quick, slow, never]) == {"jain": 0.9, "waited": {"quick": 0.0, "slow": 0.5}}
    assert "slow waited longest for a driver: 50% of its time." in run_markdown(a_run(), DECISIONS, [quick, slow])
    assert fairness([]) == {"jain": 1.0, "waited": {}}
