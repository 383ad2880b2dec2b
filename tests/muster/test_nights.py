"""A night's key is its local day, however long that is; one run for each, unless somebody asks for another."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from muster.ledger import Book
from muster.ledger.runs import NewRun
from muster.limits import Mode
from muster.planning import nightly_key
from muster.settings import Settings
from tests.drain import World
from tests.factories import a_batch


@pytest.mark.parametrize(
    ("zone", "moment", "key"),
    [
        ("UTC", datetime(2026, 11, 22, 23, 59, tzinfo=UTC), "nightly:2026-11-22"),
        ("Europe/Berlin", datetime(2026, 11, 22, 23, 0, tzinfo=UTC), "nightly:2026-11-23"),
        ("America/New_York", datetime(2026, 11, 23, 4, 59, tzinfo=UTC), "nightly:2026-11-22"),
        # 29 March 2026: 02:00 is followed by 03:00; 25 October 2026 has 02:30 twice
        ("Europe/Berlin", datetime(2026, 3, 28, 23, 0, tzinfo=UTC), "nightly:2026-03-29"),
        ("Europe/Berlin", datetime(2026, 3, 29, 21, 59, tzinfo=UTC), "nightly:2026-03-29"),
        ("Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "nightly:2026-10-25"),
        ("Europe/Berlin", datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "nightly:2026-10-25"),
        ("Europe/Berlin", datetime(2026, 10, 25, 22, 59, tzinfo=UTC), "nightly:2026-10-25"),
    ],
)
def test_the_key_is_the_local_day(zone: str, moment: datetime, key: str):
    settings = Settings.model_validate({"timezone": zone})

    assert nightly_key(moment, settings, Mode.NORMAL) == key
    assert nightly_key(moment, settings, Mode.TESTING) == f"{key}:testing"


async def test_one_run_for_each_key_and_the_unfinished_one_first(book: Book):
    def night(forced: bool) -> NewRun:
        return NewRun("nightly:d", "nightly", Mode.NORMAL, {}, forced, "ada@host")

    first, is_new = await book.runs.open(night(False), [])
    assert is_new
    assert await book.runs.open(night(False), []) == (first, False)
    await book.runs.planned(first)
    assert await book.runs.close(first)
    assert await book.runs.open(night(False), []) == (first, False)

    second, is_new = await book.runs.open(night(True), [])
    assert is_new
    assert (await book.runs.get(second))["key"] == "nightly:d#2"
    assert (await book.runs.get(second))["started_by"] == "ada@host"
    assert await book.runs.open(night(False), []) == (second, False)  # goes on with what is not over
    await book.runs.planned(second)
    await book.runs.close(second)
    assert await book.runs.open(night(False), []) == (first, False)


async def test_the_view_shows_what_the_seeds_query_did(book: Book):
    batch_id = await a_batch(book, 3)

    rows = await book.database.read(lambda tx: tx.rows(text("SELECT * FROM batch_status")))

    (row,) = rows
    assert (row["id"], row["client"], row["client_name"], row["workload"]) == (batch_id, "acme", "acme", "numbers")
    assert (row["state"], row["total"], row["succeeded"], row["failed"], row["remaining"]) == ("queued", 3, 0, 0, 3)
    assert (row["run"], row["driver_runs"], row["driver"]) == ("run-k", 0, None)


async def test_nothing_is_planned_for_clients_without_anything_due(world: World):
    await world.client("acme", ["a"])
    assert [it["total"] for it in await world.run("profiles", "prompts")] == [1, 1]

    again = await world.run("profiles", key="again")

    assert again == []
    run = await world.book.runs.of_key("again")
    assert run is not None
    assert run["state"] == "done"
    (decision,) = await world.book.runs.decisions(run["id"])
    assert decision.reason == "profiles: no profile without a score"
