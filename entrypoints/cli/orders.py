"""`muster pause`, `resume`, `cancel` and `redrive`: what a person orders of a batch."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from entrypoints.cli.batches import BatchId, known_batch, span
from entrypoints.cli.speech import run, say
from muster.errors import BadInput
from muster.ledger import Book
from muster.outcomes import ErrorKind
from muster.report import counted
from muster.settings import Settings
from muster.states import BatchState
from muster.wiring import open_book

WHO_WORKS_IT = "a driver that runs takes it within seconds; with none, `muster reconcile` works it here"


def pause(batch: BatchId) -> None:
    """Begin no more calls of a batch; what is in flight finishes and is recorded.

    \b
    muster pause 12
    """  # noqa: D301, click's own sign for "do not wrap"

    async def order(book: Book) -> str:
        await book.orders.pause(batch)
        return f"Batch {batch} is paused; what is in flight still finishes. To go on: muster resume {batch}"

    _give(batch, order)


def resume(batch: BatchId) -> None:
    """Let a paused or failed batch go on where it stood.

    \b
    muster resume 12
    """  # noqa: D301, click's own sign for "do not wrap"

    async def order(book: Book) -> str:
        state = await book.orders.resume(batch)
        if state is BatchState.IN_PROGRESS:
            return f"Batch {batch} goes on."
        return f"Batch {batch} is queued again: {WHO_WORKS_IT}."

    _give(batch, order)


def cancel(batch: BatchId) -> None:
    """End a batch now: every open item is cancelled, what is finished is kept.

    \b
    muster cancel 12
    """  # noqa: D301, click's own sign for "do not wrap"

    async def order(book: Book) -> str:
        cancelled = await book.orders.cancel(batch)
        await book.runs.close((await book.readings.batch(batch))["run_id"])
        return f"Batch {batch} is cancelled, with {counted(cancelled, 'open item')}."

    _give(batch, order)


def redrive(
    batch: BatchId,
    kind: Annotated[list[str] | None, typer.Option(help="Only items of this cause; may be given again.")] = None,
    since: Annotated[str | None, typer.Option(help="Only items that failed since: 90m, 24h, 7d.")] = None,
) -> None:
    """Open a batch's failed items again; what succeeded is not repeated.

    \b
    muster redrive 12
    muster redrive 12 --kind parse --kind transient --since 24h
    """  # noqa: D301, click's own sign for "do not wrap"
    kinds = tuple(kind or ())
    for it in kinds:
        if it not in set(ErrorKind):
            raise BadInput(f"--kind {it!r} is no cause; there are {', '.join(ErrorKind)}.")
    back = None if since is None else span(since)

    async def order(book: Book) -> str:
        moment = None if back is None else await book.readings.now() - back
        opened = await book.orders.redrive(batch, kinds, moment)
        return f"Batch {batch}: {counted(opened, 'failed item')} opened again and queued; {WHO_WORKS_IT}."

    _give(batch, order)


def _give(batch: int, order: Callable[[Book], Awaitable[Any]]) -> None:
    async def work() -> str:
        async with open_book(Settings.read()) as book:
            await known_batch(book, batch)
            return str(await order(book))

    say(run(work()))
