"""Manifest, certificate and gaps: what was expected is held against what the items' own rows say."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Executable, delete, select, update

from muster.certificate import certificate_markdown, summary
from muster.landing import Landing, land
from muster.ledger import Book
from muster.ledger.database import Tx
from muster.ledger.domain import ANSWER
from muster.ledger.live import LANE
from muster.ledger.tables import ATTEMPT, BATCH, EVENT, ITEM, RUN, RUN_CLIENT
from muster.limits import Terms
from muster.outcomes import ErrorKind, Failed, Outcome, Skipped, Succeeded
from muster.verifying import repair, verify
from tests.conftest import Clock
from tests.drain import World
from tests.factories import a_batch, a_lease, no_rows


@pytest.fixture
async def book(database_url: str, clock: Clock) -> AsyncIterator[Book]:
    """A ledger that is tampered with, so that its counters need not equal its rows in the end."""
    async with Book(database_url, clock=clock) as book:
        await book.upgrade()
        yield book


async def landed(book: Book, outcomes: list[Outcome]) -> int:
    """A batch whose items end like this, and its run closed; the run's id."""
    lease = await a_lease(book, len(outcomes))
    items, _ = await book.lanes.claim(lease, "one", Terms(), {"web": len(outcomes)})
    ends: list[Landing] = [land(item, end, tries=1) for item, end in zip(items, outcomes, strict=True)]
    await book.lanes.settle(lease, "one", ends, no_rows)
    run_id = (await book.readings.batch(lease.batch_id))["run_id"]
    await book.runs.planned(run_id)
    assert await book.runs.close(run_id)
    return int(run_id)


async def change(book: Book, *statements: Executable) -> None:
    async def write(tx: Tx) -> None:
        for statement in statements:
            await tx.run(statement)

    await book.database.write(write)


ENDS: list[Outcome] = [
    Succeeded(),
    Succeeded(mark=ErrorKind.REFUSED),
    Skipped(reason="no posts"),
    Failed(kind=ErrorKind.REJECTED, error="no"),
]


async def test_a_closed_run_has_a_certificate_whose_sums_match(book: Book):
    run_id = await landed(book, ENDS)
    run = await book.runs.get(run_id)
    certificate = run["certificate"]

    assert (certificate["expected"], certificate["succeeded"], certificate["skipped"], certificate["failed"]) == (
        4,
        2,
        1,
        1,
    )
    assert certificate["complete"] is True
    assert certificate["manifest_hash"] == run["manifest_hash"]
    (client,) = certificate["clients"]
    assert {(it["state"], it["why"], it["items"]) for it in client["causes"]} == {
        ("succeeded", "refused", 1),
        ("skipped", "no posts", 1),
        ("failed", "rejected", 1),
    }
    assert summary(certificate) == "Run run-k: 4 of 4 items closed, 1 failed."
    assert (await verify(book, run_id)).gaps == []
    assert "| acme | 4 | 2 | 1 | 1 | 0 | 0 |" in certificate_markdown(certificate, [])


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (delete(ITEM).where(ITEM.c.seq == 1), "has 3 items, and 4 were planned"),
        (update(ITEM).where(ITEM.c.seq == 1).values(key="another"), "has other items than those that were planned"),
        (update(BATCH).values(succeeded=BATCH.c.succeeded - 1, failed=BATCH.c.failed + 1), "counts otherwise"),
        (update(RUN_CLIENT).values(reason="left out"), "are not those that were frozen"),
        (delete(RUN_CLIENT), "are not those that were frozen"),
        (update(RUN_CLIENT).values(workloads=[]), "are not those that were frozen"),
        (update(ITEM).where(ITEM.c.seq == 1).values(payload={"text": "?"}), "has other items than those"),
        (update(RUN).values(manifest={}), "was changed after it had been frozen"),
        (update(RUN).values(manifest=[]), "was changed after it had been frozen"),
        (update(BATCH).values(state="failed"), "is failed, and all of its items are closed"),
        (update(RUN).values(manifest_hash="0"), "was changed after it had been frozen"),
        (update(RUN).values(certificate={"complete": True}), "is not what its items say now"),
    ],
)
async def test_whatever_was_changed_behind_its_back_is_named(book: Book, tamper: Executable, said: str):
    run_id = await landed(book, ENDS)
    await change(book, tamper)

    verified = await verify(book, run_id)

    assert any(said in gap for gap in verified.wrong), verified.gaps


async def test_a_batch_that_is_gone_is_named_with_its_items(book: Book):
    run_id = await landed(book, ENDS)
    await change(book, delete(EVENT), delete(ATTEMPT), delete(LANE), delete(ITEM), delete(BATCH))

    assert "acme numbers: the batch is gone, and with it 4 items." in (await verify(book, run_id)).wrong


async def test_open_items_are_gaps_that_time_may_close(book: Book):
    batch_id = await a_batch(book, 3)
    run_id = (await book.readings.batch(batch_id))["run_id"]
    await book.runs.planned(run_id)

    verified = await verify(book, run_id)

    assert verified.wrong == []
    assert verified.gaps == [
        "Run run-k is still running.",
        f"acme numbers: batch {batch_id} is queued with 3 items open.",
    ]
    assert verified.coverage == 0


async def test_a_run_that_never_was_planned_to_its_end_has_no_manifest(book: Book):
    batch_id = await a_batch(book, 3)
    run_id = (await book.readings.batch(batch_id))["run_id"]

    assert "has no manifest" in (await verify(book, run_id)).gaps[0]


async def test_the_manifest_is_frozen_once(book: Book):
    run_id = await landed(book, ENDS)
    before = await book.runs.get(run_id)
    await change(book, delete(ITEM).where(ITEM.c.seq == 1))
    await book.runs.planned(run_id)
    after = await book.runs.get(run_id)

    assert (before["manifest"], before["manifest_hash"]) == (after["manifest"], after["manifest_hash"])


async def test_a_repair_opens_only_what_is_missing(world: World):
    await world.client("acme", ["a", "b", "c", "d"])
    (batch,) = await world.run("prompts")
    before = await world.calls("openai")
    gone = ITEM.c.key.startswith("b/")
    answers_of_it = delete(ANSWER).where(ANSWER.c.item_id.in_(select(ITEM.c.id).where(gone)))
    await change(world.book, answers_of_it, delete(ITEM).where(gone))
    assert any("has 3 items, and 4 were planned" in it for it in (await verify(world.book, batch["run_id"])).wrong)

    done = await repair(world.book, world.settings, batch["run_id"])
    await world.run("prompts")

    assert done == [f"Batch {batch['id']}: 1 item planned again."]
    assert (await verify(world.book, batch["run_id"])).gaps == []
    again = await world.calls("openai")
    assert {name: again[name] - before[name] for name in again if again[name] != before[name]} == {"b": 1}
