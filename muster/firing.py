"""A firing that opens no batches, such as `reconcile` and `check`: written down with what it found or what failed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from muster.ledger import Book
from muster.ledger.runs import Firing


@asynccontextmanager
async def recorded(book: Book, trigger: str) -> AsyncIterator[dict[str, Any]]:
    """Write the firing down when it ends; what is put into the result is kept with it."""
    began, result = await book.readings.now(), dict[str, Any]()
    try:
        yield result
    except Exception as error:
        await book.runs.record(Firing(trigger, began, result, f"{type(error).__name__}: {error}"[:500]))
        raise
    await book.runs.record(Firing(trigger, began, result))
