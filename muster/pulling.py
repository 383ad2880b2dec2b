"""A driver that pulls: it works clients with queued batches, served least first, until none is left."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
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
BARRED_S: Final = 5.0  # a turn that went wrong is not taken again sooner

WorkTurn = Callable[[Turn], Awaitable[Any]]
Wrong = dict[Turn, BaseException]


async def pull(
    book: Book,
    settings: Settings,
    work: WorkTurn,
    *,
    only: int | None = None,
    until: int | None = None,
    stays: bool = False,
) -> Wrong:
    """Work turn after turn, several at the same time, until nothing is queued; what went wrong, by turn.

    `only` is the one run that is served; `until` is a run that is waited for, also where other drivers work it; who
    `stays` waits for whatever comes until the process is asked to end. One turn's failure never stops another, and is
    not tried again here, unless its batches were queued again meanwhile.
    """
    async with _entered(book, settings, only) as name:
        driver = _Driver(book, name, only, work, settings.clients_at_once)
        try:
            while not signals.stopping():
                await driver.fill()
                if not stays and not driver.active and not await driver.waits_for(until):
                    break
                await driver.wait()
        finally:  # whatever ends this, no turn is left alone
            await asyncio.gather(*driver.active, return_exceptions=True)
        await driver.put_back()
    return driver.wrong


@dataclass
class _Driver:
    """The turns that one driver works at the moment, and those that went wrong."""

    book: Book
    name: str
    only: int | None
    work: WorkTurn
    at_once: int
    active: dict["asyncio.Task[Any]", Turn] = field(default_factory=dict)
    wrong: Wrong = field(default_factory=dict)
    _wrong_at: dict[Turn, float] = field(default_factory=dict)

    async def fill(self) -> None:
        """Begin turns while there is room and something to take."""
        while len(self.active) < self.at_once:
            serving = [turn.client_id for turn in self.active.values()]
            try:
                turn = await self.book.drivers.pick(self.name, self._barred(), wary=self.wrong, serving=serving)
            except LeaseLost:  # the machine slept; what is being worked is fenced by its own lease
                await self.book.drivers.enter(self.name, self.only)
                return
            if turn is None:
                return
            self.active[asyncio.create_task(self._work(turn))] = turn

    def _barred(self) -> list[Turn]:
        """Turns that went wrong a moment ago; later they are taken again if something has changed."""
        return [turn for turn, since in self._wrong_at.items() if time.monotonic() - since < BARRED_S]

    async def waits_for(self, run_id: int | None) -> bool:
        """Whether a run has work that some driver does at the moment, or that this one may come to do."""
        if run_id is None:
            return False
        hopeless = {turn.client_id for turn in self.wrong if turn.run_id == run_id}
        return any(it not in hopeless for it in await self.book.readings.clients_at_work(run_id))

    async def wait(self) -> None:
        """Wait a little, or until a turn has ended."""
        if self.active:
            await asyncio.wait(self.active, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            await self.put_back()
        else:
            await asyncio.sleep(LOOK_S)

    async def put_back(self) -> None:
        """Let go of the clients whose turn has ended."""
        for task in [it for it in self.active if it.done()]:
            turn = self.active.pop(task)
            await self.book.drivers.put_back(self.name, turn.client_id)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                self.wrong[turn], self._wrong_at[turn] = error, time.monotonic()
            else:
                self.wrong.pop(turn, None)

    async def _work(self, turn: Turn) -> None:
        await self.work(turn)


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
