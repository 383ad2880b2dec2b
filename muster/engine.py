"""What a lane does: claim due items, attempt them at once, settle their outcomes in group commits, until none is left.

The lane's clerk is the only one that talks to the ledger about items, one transaction at a time, so an attempt never
waits for another attempt's commit and a commit carries everything that ended in the meantime.
"""

import asyncio
import os
import time
import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from muster.errors import ConfigurationError, LeaseLost, Unreachable, Unsettled
from muster.landing import Claimed, Landing, give_back, land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.ledger.standing import Ready, Standing
from muster.limits import Limits, Terms
from muster.outcomes import ErrorKind, Failed, Outcome, Retry
from muster.settings import Settings
from muster.upstreams.answers import Unanswered
from muster.upstreams.caller import Caller
from muster.workload import Context, Workload

GATHER_S: Final = 0.05  # outcomes wait so long for company
GATHER_MOST: Final = 500  # or until they are so many
IDLE_S: Final = 0.25  # an idle lane looks up so often
BEAT_S: Final = 1.5


@dataclass(frozen=True, slots=True)
class Job:
    """All that a lane needs of its batch."""

    lease: Lease
    workload: Workload
    limits: Limits
    terms: Terms
    upstreams: tuple[str, ...]
    alone: bool = False  # in a process of its own, with one suspect item at a time


def lane_name(lease: Lease) -> str:
    """A name that no other lane has."""
    return f"{lease.batch_id}.{lease.epoch}.{os.getpid()}.{uuid4().hex[:8]}"


class Lane:
    """One lane of a batch; `stopping` is asked often whether the process wants to end."""

    def __init__(
        self,
        book: Book,
        caller: Caller,
        settings: Settings,
        job: Job,
        stopping: Callable[[], bool],
        name: str | None = None,
    ) -> None:
        self.name = name or lane_name(job.lease)
        self.tally: Counter[str] = Counter()
        self._book, self._caller, self._settings, self._job, self._stopping = book, caller, settings, job, stopping
        self._claimed: deque[Claimed] = deque()
        self._active: dict[asyncio.Task[None], int] = {}  # → the item's id
        self._landed: list[Landing] = []
        self._held_until: dict[str, float] = {}  # upstream → loop time before which nothing is called
        self._look = asyncio.Event()
        self._look_at = 0.0
        self._ahead = 0  # items claimed beyond the free slots
        self._idle_s = IDLE_S
        self._failure: BaseException | None = None
        self._standing: Standing | None = None
        self._ready: Ready | None = None  # as the last claim saw it; a beat looks up no items

    async def work(self) -> Counter[str]:
        """Work the batch until no item is open, the batch leaves `in_progress`, or the process wants to end.

        Returns how many attempts ended in which state.

        Raises:
            LeaseLost: another driver has the batch; nothing more was written.
        """
        await self._book.lanes.enter(self._job.lease, self.name, alone=self._job.alone)
        beats = asyncio.create_task(self._beat())
        try:
            while self._is_wanted():
                await self._turn()
            await self._finish_calls()
        except LeaseLost as lost:
            self._failure = lost
        finally:
            beats.cancel()
            await self._leave()
        if self._failure is not None:
            raise self._failure
        return self.tally

    def _is_wanted(self) -> bool:
        return self._has_work() and self._failure is None and not self._stopping()

    def _has_work(self) -> bool:
        """Whether this lane may still get items: suspects only if it works alone, and then nothing else."""
        if self._standing is None:
            return True
        ready = self._ready
        is_mine = ready is None or (ready.suspects > 0 if self._job.alone else ready.others)
        return self._standing.is_workable and (is_mine or bool(self._active or self._claimed or self._landed))

    async def _turn(self) -> None:
        """One turn of the clerk: settle what landed, claim what is wanted, start it, and wait for more."""
        await self._settle()
        if self._is_wanted():
            await self._claim()
        self._fill()
        await self._wait()

    async def _settle(self) -> None:
        landings, self._landed = self._landed, []
        self._look_at = 0.0
        if not landings:
            return
        try:
            await self._record(landings)
        except Unsettled:  # a workload that cannot write its rows must not stop the batch
            await self._record_one_by_one(landings)
        self._ahead = min(len(landings), 4 * self._job.limits.in_flight)

    async def _record(self, landings: list[Landing]) -> None:
        self._standing = await self._book.lanes.settle(self._job.lease, self.name, landings, self._job.workload.settle)
        self.tally.update(it.state for it in landings)

    async def _record_one_by_one(self, landings: list[Landing]) -> None:
        """Find the outcome whose rows cannot be written, and record it as a bug; the others land as they said."""
        for landing in landings:
            try:
                await self._record([landing])
            except Unsettled as bug:
                outcome = _bug(bug.__cause__ or bug)
                await self._record([land(landing.item, outcome, tries=self._job.limits.tries, ms=landing.ms)])

    async def _claim(self) -> None:
        wants = self._wants()
        if not wants:
            return
        items, self._standing = await self._book.lanes.claim(
            self._job.lease, self.name, self._job.terms, wants, alone=self._job.alone, holds=self._held_ids()
        )
        self._claimed.extend(items)
        self._ready = self._standing.ready
        due = self._standing.next_due_s
        self._idle_s = IDLE_S if items or due is None else min(IDLE_S, due)

    def _wants(self) -> Mapping[str, int]:
        """How many items of each upstream to claim: what the free slots take, and as many ahead as one turn closes."""
        limits, terms = self._job.limits, self._job.terms
        have = len(self._active) + len(self._claimed)
        n = limits.in_flight + (self._ahead if terms.target is None and not self._job.alone else 0) - have
        now = asyncio.get_running_loop().time()
        stopped = self._standing.stopped if self._standing else {}
        open_to = [it for it in self._job.upstreams if it not in stopped and self._held_until.get(it, 0) <= now]
        if n < max(1, limits.in_flight // 4) and have:
            return {}  # a few free slots do not earn a transaction
        return dict.fromkeys(open_to, max(1, n // max(1, len(open_to))))

    def _held_ids(self) -> list[int]:
        return [*(it.id for it in self._claimed), *self._active.values(), *(it.item.id for it in self._landed)]

    def _fill(self) -> None:
        """Start claimed items while there are free slots; those of a held or stopped upstream are given back."""
        now = asyncio.get_running_loop().time()
        stopped = self._standing.stopped if self._standing else {}
        while self._claimed and len(self._active) < self._job.limits.in_flight:
            item = self._claimed.popleft()
            if item.upstream in stopped:
                self._landed.append(give_back(item))
            elif (wait := self._held_until.get(item.upstream, 0) - now) > 0:
                self._landed.append(give_back(item, wait))
            else:
                task = asyncio.create_task(self._attempt(item))
                self._active[task] = item.id
                task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._active.pop(task, None)
        if not self._stopping() and self._failure is None:
            self._fill()
        loop = asyncio.get_running_loop()
        if not self._active or len(self._landed) >= GATHER_MOST:
            self._look.set()
        elif not self._look_at:
            self._look_at = loop.time() + GATHER_S
            loop.call_at(self._look_at, self._look.set)

    async def _wait(self) -> None:
        if self._landed and not self._active:
            return
        self._look.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._idle_s):
                await self._look.wait()

    async def _attempt(self, item: Claimed) -> None:
        """Run one attempt; whatever happens in it becomes an outcome."""
        started = time.perf_counter()
        try:
            outcome = await self._job.workload.attempt(item, self._context(item))
        except Unanswered as unanswered:
            outcome = unanswered.outcome
        except (LeaseLost, Unreachable) as lost:
            self._failure = lost
            return
        except ConfigurationError as wrong:  # such as an address that is none: no item can succeed until it is mended
            outcome = Retry(kind=ErrorKind.DENIED, error=str(wrong))
        except asyncio.CancelledError:
            self._landed.append(give_back(item))
            return
        except Exception as bug:  # noqa: BLE001, a workload's own bug is an outcome
            outcome = _bug(bug)
        ms = int(1000 * (time.perf_counter() - started))
        landing = land(item, outcome, tries=self._job.limits.tries, ms=ms)
        if landing.kind is ErrorKind.THROTTLED and landing.wait is not None:
            self._hold(item.upstream, landing.wait)
        self._landed.append(landing)

    def _hold(self, upstream: str, seconds: float) -> None:
        """Slow the whole upstream, not the one item."""
        until = asyncio.get_running_loop().time() + seconds
        self._held_until[upstream] = max(until, self._held_until.get(upstream, 0))

    def _context(self, item: Claimed) -> Context:
        async def step(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
            if item.starts > 1:
                known = await self._book.lanes.recall(item)
                if name in known:
                    return known[name]
            result = await call()
            await self._book.lanes.remember(self._job.lease, self.name, item, name, result)
            return result

        return Context(self._job.limits, self._settings, self._book, self._caller, step)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(min(BEAT_S, self._book.stale_after_s / 8))
            try:
                self._standing = await self._book.lanes.beat(self._job.lease, self.name)
            except Exception as lost:  # noqa: BLE001, a lane that cannot beat must not go on
                self._failure = lost
                for task in self._active:
                    task.cancel()
                self._look.set()
                return

    async def _finish_calls(self) -> None:
        """Let calls in flight finish: all of them, or on a stop those that end within the grace."""
        self._claimed.clear()  # `leave` gives them back
        if self._active and self._failure is None:
            await asyncio.wait(self._active, timeout=self._settings.stop_grace_seconds if self._stopping() else None)

    async def _leave(self) -> None:
        """Leave nothing running here and, if it may still be written, nothing unsettled or held in the ledger."""
        active = list(self._active)
        for task in active:
            task.cancel()
        await asyncio.gather(*active, return_exceptions=True)
        if not isinstance(self._failure, LeaseLost):
            with suppress(LeaseLost):
                await self._settle()
                await self._book.lanes.leave(self._job.lease, self.name)


def _bug(error: BaseException) -> Outcome:
    """A workload's own fault: the item fails, the traceback goes to the log, the batch goes on."""
    said = f"{type(error).__name__}: {error}"[:500]
    return Failed(kind=ErrorKind.BUG, error=said, log="".join(traceback.format_exception(error))[-8000:])
