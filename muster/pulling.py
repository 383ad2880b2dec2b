"""A driver that pulls: it works clients with queued batches, served least first, until none is left."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from uuid import uuid4

from muster import signals
from muster.driver import BEATS, driver_name
from muster.errors import LeaseLost
from muster.ledger import Book
from muster.ledger.drivers import Turn
from muster.reconcile import reconcile
from muster.settings import Settings

LOOK_S: Final = 1.0

WorkTurn = Callable[[Turn], Awaitable[Any]]
Wrong = dict[Turn, BaseException]


async def pull(
    book: Book, settings: Settings, work: WorkTurn, *, only: int | None = None, until: int | None = None
) -> Wrong:
    """Work turn after turn, several at the same time, until nothing is queued; what went wrong, by turn.

    `only` is the one run that is served; `until` is a run that is waited for, also where other drivers work it. One
    turn's failure never stops another, and is not tried again here.
    """
    wrong: Wrong = {}
    async with _entered(book, settings, only) as driver:
        active: dict[asyncio.Task[Any], Turn] = {}
        while not signals.stopping():
            await _fill(book, driver, work, settings.clients_at_once, active, wrong)
            if not active and not await _is_awaited(book, until, wrong):
                break
            await _await_some(active)
            await _put_back(book, driver, active, wrong)
        await asyncio.gather(*active, return_exceptions=True)
        await _put_back(book, driver, active, wrong)
    return wrong


async def _fill(
    book: Book, driver: str, work: WorkTurn, at_once: int, active: dict["asyncio.Task[Any]", Turn], wrong: Wrong
) -> None:
    while len(active) < at_once:
        serving = [turn.client_id for turn in active.values()]
        turn = await book.drivers.pick(driver, wrong, serving=serving)
        if turn is None:
            return
        active[asyncio.create_task(_as_task(work, turn))] = turn


async def _as_task(work: WorkTurn, turn: Turn) -> Any:
    return await work(turn)


async def _is_awaited(book: Book, run_id: int | None, wrong: Wrong) -> bool:
    """Whether a run has work that some driver does at the moment, or that this one may come to do."""
    if run_id is None:
        return False
    hopeless = {turn.client_id for turn in wrong if turn.run_id == run_id}
    return any(it not in hopeless for it in await book.readings.clients_at_work(run_id))


async def _await_some(active: dict["asyncio.Task[Any]", Turn]) -> None:
    if active:
        await asyncio.wait(active, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(LOOK_S)


async def _put_back(book: Book, driver: str, active: dict["asyncio.Task[Any]", Turn], wrong: Wrong) -> None:
    for task in [it for it in active if it.done()]:
        turn = active.pop(task)
        await book.drivers.put_back(driver, turn.client_id)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            wrong[turn] = error


@asynccontextmanager
async def _entered(book: Book, settings: Settings, only: int | None) -> AsyncIterator[str]:
    """Be a driver that others see, and judge the open batches as long as it lasts."""
    driver = f"{driver_name()}:{uuid4().hex[:8]}"
    await book.drivers.enter(driver, only)
    beats = [asyncio.create_task(it) for it in (_beat(book, driver, only), _judge(book, settings))]
    try:
        yield driver
    finally:
        for task in beats:
            task.cancel()
        await asyncio.gather(*beats, return_exceptions=True)
        await book.drivers.leave(driver)


async def _beat(book: Book, driver: str, only: int | None) -> None:
    while True:
        await asyncio.sleep(book.stale_after_s / BEATS)
        try:
            await book.drivers.beat(driver)
        except LeaseLost:  # the machine slept; what is being worked is fenced by its own lease
            with suppress(Exception):
                await book.drivers.enter(driver, only)


async def _judge(book: Book, settings: Settings) -> None:
    while True:
        await asyncio.sleep(book.stale_after_s / 2)
        with suppress(Exception):  # what cannot be mended now is looked at again, and keeps nobody from working
            await reconcile(book, settings)
