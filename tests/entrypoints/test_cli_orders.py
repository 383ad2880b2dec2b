"""The orders and `reconcile` as a person gives them."""

import pytest

from muster import signals
from muster.errors import Unreachable
from muster.landing import land
from muster.ledger import Book
from muster.limits import Terms
from muster.outcomes import ErrorKind, Failed
from tests.entrypoints.conftest import Muster, in_ledger
from tests.factories import a_batch, no_rows

WAYS = "a driver that runs takes it within seconds; with none, `muster reconcile` works it here"


async def at_work(book: Book) -> int:
    batch_id = await a_batch(book, 3)
    await book.batches.take(batch_id, "someone")
    return batch_id


async def with_a_failure(book: Book) -> int:
    lease = await book.batches.take(await a_batch(book, 1), "someone")
    await book.lanes.enter(lease, "one")
    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": 1})
    failed = Failed(kind=ErrorKind.PARSE, error="not JSON")
    await book.lanes.settle(lease, "one", [land(it, failed, tries=1) for it in items], no_rows)
    return lease.batch_id


def test_a_batch_is_paused_resumed_and_cancelled(muster: Muster):
    batch = str(in_ledger(at_work))

    paused, again = muster("pause", batch), muster("pause", batch)
    resumed, cancelled, late = muster("resume", batch), muster("cancel", batch), muster("resume", batch)

    assert paused.out == f"Batch {batch} is paused; what is in flight still finishes. To go on: muster resume {batch}\n"
    assert (again.code, again.err.split(";")[1]) == (2, " only a batch that is in progress can be paused.\n")
    assert resumed.out == f"Batch {batch} goes on.\n"
    assert cancelled.out == f"Batch {batch} is cancelled, with 3 open items.\n"
    assert (late.code, late.out) == (2, "")
    assert "is cancelled; only a batch that is paused or failed can be resumed." in late.err


def test_failed_items_are_opened_again(muster: Muster):
    batch = str(in_ledger(with_a_failure))

    none, opened = muster("redrive", batch, "--kind", "transient"), muster("redrive", batch, "--kind", "parse")

    assert (none.code, none.err) == (2, f"Error: Batch {batch} has no such failed item; there are: 1 parse.\n")
    assert opened.out == f"Batch {batch}: 1 failed item opened again and queued; {WAYS}.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["redrive", "1", "--kind", "bad luck"], "--kind 'bad luck' is no cause; there are throttled,"),
        (["redrive", "1", "--since", "yesterday"], "is no span of time; try 90m, 24h or 7d."),
        (["pause", "99"], "There is no batch 99; `muster batches` lists them."),
        (["cancel", "0"], "There is no batch 0;"),
        (["reconcile", "--every", "0"], "--every 0 must be between 1 and 3600 seconds."),
        (["reconcile", "--every", "5", "--dry-run"], "--every goes on for ever; leave out --dry-run and --json."),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(muster: Muster, words: list[str], said: str):
    ended = muster(*words)

    assert ended.code == 2
    assert said in ended.err


def test_a_dry_run_says_one_line_a_batch_and_changes_nothing(muster: Muster):
    batch = in_ledger(at_work)

    said, again = muster("reconcile", "--dry-run"), muster("reconcile", "--dry-run", "--json")

    assert said.code == 0
    assert f"batch {batch}  acme numbers  healthy  worked by someone, silent for " in said.out.splitlines()[1]
    (finding,) = again.json["findings"]
    assert finding["reason"].startswith("worked by someone, silent for ")
    assert {name: finding[name] for name in ("run", "batch", "name", "verdict")} == {
        "run": 1,
        "batch": batch,
        "name": "acme numbers",
        "verdict": "healthy",
    }


def test_with_nothing_open_reconcile_says_so(muster: Muster):
    assert muster("reconcile").out == "No batch is open.\n"


def test_a_watch_says_what_went_wrong_and_looks_again(muster: Muster, monkeypatch: pytest.MonkeyPatch):
    looks = 0

    async def fail_once(*_: object) -> list[object]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise Unreachable("The ledger could not be used for 150 s.")
        signals.stop()
        return []

    monkeypatch.setattr("entrypoints.cli.reconcile.judge_and_mend", fail_once)

    ended = muster("reconcile", "--every", "1")

    assert looks == 2
    assert "The ledger could not be used for 150 s." in ended.err
    assert ended.code == 130
