"""Runs under their keys."""

from muster.ledger import Book
from muster.ledger.runs import NewRun
from muster.limits import Mode


async def opened(book: Book, key: str, *, forced: bool = False) -> str:
    run_id, _ = await book.runs.open(NewRun(key, "test", Mode.NORMAL, {}, forced), [])
    await book.runs.planned(run_id)
    await book.runs.close(run_id)
    return str((await book.runs.get(run_id))["key"])


async def test_a_forced_run_takes_the_number_after_the_highest(book: Book):
    assert await opened(book, "night") == "night"
    assert await opened(book, "night#3") == "night#3"

    assert await opened(book, "night", forced=True) == "night#4"
    assert await opened(book, "night#3", forced=True) == "night#3#2"
    assert await opened(book, "night", forced=True) == "night#5"
