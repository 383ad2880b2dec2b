"""What the server does beside answering: it drives what was started, pulls what is queued, and reconciles."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from muster import signals
from muster.driver import driver_name
from muster.errors import MusterError
from muster.ledger import Book
from muster.ledger.drivers import Turn
from muster.ledger.lease import Lease
from muster.planning import open_batches
from muster.pulling import pull
from muster.running import work_started, work_turn
from muster.settings import Settings

AGAIN_S: Final = 5.0  # after which a puller that fell over begins again
MOST_STARTED: Final = 64  # batches that were started by a request and are worked at the same time

Say = Callable[[str], None]


class Works:
    """Tasks of this process that outlive the requests that began them."""

    def __init__(self, book: Book, settings: Settings, say: Say) -> None:
        self.book, self.settings, self.say = book, settings, say
        self._tasks = set[asyncio.Task[None]]()
        self._started = 0

    @property
    def is_full(self) -> bool:
        """Whether no more can be started here at the moment; what waits in line is not meant."""
        return self._started >= MOST_STARTED

    async def take(self, batch_id: int) -> Lease:
        """Win the batch's lease, with which it is to be driven.

        Raises:
            WrongState: it cannot be begun.
            Busy: the client has another batch of this workload at work.
        """
        return await self.book.batches.take(batch_id, driver_name())

    def drive(self, lease: Lease) -> None:
        """Work a batch whose lease was won."""
        self._started += 1
        self.begin(f"Batch {lease.batch_id}", self._drive(lease))

    def open_run(self, run_id: int) -> None:
        """Open the batches of a run that was begun; drivers take them as they come."""
        self.begin(f"Run {run_id}", self._open(run_id))

    def pull(self) -> None:
        """Take whatever is queued, and reconcile, until the process is asked to end."""
        self.begin("The driver", self._pull())

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on by itself; what goes wrong is said, under its name."""
        task = asyncio.create_task(self._going_on(name, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Wait until all of it has ended; the process was asked to end before."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _going_on(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001, reconciling finds whatever was left undone
            self.say(f"{name}: {_sentence(error)}")

    async def _drive(self, lease: Lease) -> None:
        try:
            await work_started(self.book, self.settings, lease)
        finally:
            self._started -= 1

    async def _open(self, run_id: int) -> None:
        await open_batches(self.book, self.settings, run_id)
        await self.book.runs.close(run_id)  # it may have none

    async def _pull(self) -> None:
        while not signals.stopping():
            try:
                await pull(self.book, self.settings, self._turn, stays=True)
            except Exception as error:  # noqa: BLE001, a server goes on pulling
                self.say(f"The driver begins again: {_sentence(error)}")
                await asyncio.sleep(AGAIN_S)

    async def _turn(self, turn: Turn) -> None:
        try:
            await work_turn(self.book, self.settings, turn)
        except Exception as error:
            self.say(f"{turn.client_id}: {_sentence(error)}")
            raise


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, MusterError) else f"unexpected {type(error).__name__}: {error}"
