"""A lane's attempts in flight: each begins within its allotment, and whatever happens in it becomes an outcome."""

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from muster.allotment import Allotment, Slot, Timely, TooLate, boot_time, hold_for
from muster.errors import ConfigurationError, LeaseLost, Unreachable
from muster.landing import Claimed, Landing, give_back, land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.ledger.trouble import cause_of
from muster.limits import Limits, Terms
from muster.line import Line
from muster.outcomes import ErrorKind, Failed, Outcome, Retry, Succeeded
from muster.preflight import pointing
from muster.settings import Settings
from muster.upstreams.answers import Unanswered
from muster.upstreams.caller import Caller
from muster.workload import Context, Place, Workload

LONGEST_BUSY_S: Final = 5.0  # for which a lane asks nobody whether what its items need is free
STOPPED_S: Final = 60.0


@dataclass(eq=False, slots=True)
class Try:
    """An attempt in flight, and the upstream at which it has a place, or had the last."""

    item: Claimed
    upstream: str
    slot: Slot | None
    caller: Timely
    has_place: bool = True
    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))


@dataclass(frozen=True, slots=True)
class Job:
    """All that a lane needs of its batch."""

    lease: Lease
    workload: Workload
    limits: Limits
    terms: Terms
    upstreams: tuple[str, ...]
    alone: bool = False  # in a process of its own, with one suspect item at a time


class Attempts:
    """What is in flight; `landed` is told where each item goes, `ended` that a place is free.

    `queued` is told that an attempt waits for a place at another upstream.
    """

    def __init__(
        self,
        book: Book,
        caller: Caller,
        settings: Settings,
        job: Job,
        lane: str,
        landed: Callable[[Landing], None],
        ended: Callable[[], None],
        queued: Callable[[], None],
    ) -> None:
        self.failure: BaseException | None = None  # what the lane cannot go on with
        most, longest_s = job.limits.in_flight, job.workload.longest_s
        self.allotments = {name: Allotment(most, longest_s) for name in job.upstreams}
        self._book, self._caller, self._settings, self._job, self._lane = book, caller, settings, job, lane
        self._landed, self._ended = landed, ended
        self._active: dict[asyncio.Task[None], Try] = {}
        self.line = Line(self.allotments, queued)

    def __len__(self) -> int:
        return len(self._active)

    @property
    def ids(self) -> list[int]:
        """The items in flight."""
        return [it.item.id for it in self._active.values()]

    def start(self, item: Claimed) -> None:
        """Begin an attempt; the upstream's allotment allows it now."""
        slot = self.allotments[item.upstream].begin(boot_time())
        begun = Try(item, item.upstream, slot, Timely(self._caller, item.upstream, slot))
        task = asyncio.create_task(self._attempt(begun))
        self._active[task] = begun
        task.add_done_callback(self._end)

    async def any_ended(self, timeout: float) -> None:  # noqa: ASYNC109, passed on
        """Wait until an attempt in flight ends, so many seconds at most."""
        if self._active:
            await asyncio.wait(self._active, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def cancel(self) -> dict[str, int]:
        """Give up waiting for what is in flight; how many calls of each upstream, which may still be carried out."""
        for task in self._active:
            task.cancel()
        return dict(Counter(it.upstream for it in self._active.values() if it.has_place))

    async def gone(self) -> None:
        """Wait until what was cancelled has ended."""
        await asyncio.gather(*self._active, return_exceptions=True)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._active.pop(task, None)
        self._ended()

    async def _attempt(self, it: Try) -> None:
        started = time.perf_counter()
        outcome: Outcome | None = None
        try:
            outcome = await self._outcome(it)
        except (LeaseLost, Unreachable) as lost:
            self.failure = lost
        except TooLate:
            self._landed(give_back(it.item))
        except asyncio.CancelledError:
            self._landed(self._cancelled(it))
        finally:
            self._free(it, outcome)
        if outcome is not None:
            self._land(it, outcome, int(1000 * (time.perf_counter() - started)))

    def _cancelled(self, it: Try) -> Landing:
        if not it.has_place:  # it waited for one: no call was under way
            return give_back(it.item)
        said = Retry(kind=ErrorKind.UNKNOWN_OUTCOME, error="Its process ended before the answer came.")
        return land(it.item, said, tries=self._job.limits.tries, blameless=True)  # it may have been billed

    def _free(self, it: Try, outcome: Outcome | None) -> None:
        """End what the attempt has in flight; None where that is nothing, or nobody knows what came of it."""
        if it.has_place:
            self.allotments[it.upstream].end(it.slot, outcome)
            it.has_place = False

    @asynccontextmanager
    async def _place(self, it: Try, upstream: str) -> AsyncIterator[Place]:
        """A place at another upstream instead of the one that the attempt has, whose calls have ended well.

        Waiting for it takes nothing of the attempt's time. What goes wrong within is the new upstream's.
        """
        self._free(it, Succeeded() if it.caller.has_called else None)
        it.limit.reschedule(None)
        it.slot = await self.line.wait(upstream)
        it.upstream, it.has_place = upstream, True
        it.limit.reschedule(asyncio.get_running_loop().time() + self._job.workload.longest_s)
        it.caller.expect(upstream, it.slot)
        place = Place()
        yield place
        self._free(it, Succeeded(tokens=place.tokens))

    async def _outcome(self, it: Try) -> Outcome:
        it.limit = asyncio.timeout(self._job.workload.longest_s)
        try:
            async with it.limit:
                return await self._job.workload.attempt(it.item, self._context(it))
        except Unanswered as unanswered:
            return unanswered.outcome
        except TimeoutError as late:
            return self._too_long() if it.limit.expired() else bug_outcome(late)
        except (LeaseLost, Unreachable, TooLate):
            raise
        except ConfigurationError as wrong:  # such as an address that is none: no item can succeed until it is mended
            return Retry(kind=ErrorKind.DENIED, error=str(wrong))
        except Exception as bug:  # noqa: BLE001, a workload's own bug is an outcome
            return bug_outcome(bug)

    def _too_long(self) -> Outcome:
        said = f"No answer within {self._job.workload.longest_s:g} s; the attempt was given up."
        return Retry(kind=ErrorKind.UNKNOWN_OUTCOME, error=said)

    def _land(self, it: Try, outcome: Outcome, ms: int) -> None:
        allotment = self.allotments[it.upstream]
        landing = land(it.item, outcome, tries=self._job.limits.tries, ms=ms, blameless=allotment.is_failing)
        if isinstance(outcome, Retry) and outcome.kind is ErrorKind.THROTTLED:
            allotment.hold(boot_time(), hold_for(outcome.wait))  # the whole upstream slows, not the one item
        elif isinstance(outcome, Retry) and outcome.busy:
            allotment.hold(boot_time(), min(LONGEST_BUSY_S, outcome.wait or 0.0))  # the next item would find no more
        elif landing.stops_upstream:
            for name in {it.upstream, it.item.upstream}:
                self.allotments[name].hold(boot_time(), STOPPED_S)  # by then the ledger has said so to every lane
            landing = replace(landing, error=pointing(it.upstream, landing.kind, landing.error or ""))
        self._landed(landing)

    def _context(self, it: Try) -> Context:
        item = it.item
        known: dict[str, Any] | None = {} if item.starts == 1 else None

        async def step(
            name: str, call: Callable[[], Awaitable[Any]], cost: Callable[[Any], int | None] | None = None
        ) -> Any:
            nonlocal known
            known = await self._book.lanes.recall(item) if known is None else known
            if name not in known:
                result = await call()
                micros = (cost(result) if cost else None) or 0
                await self._book.lanes.remember(self._job.lease, self._lane, item, name, result, micros)
                known[name] = result
            return known[name]

        place = partial(self._place, it)
        return Context(self._job.limits, self._settings, self._book, it.caller, step, place, self._lane)


def bug_outcome(error: BaseException) -> Outcome:
    """A workload's own fault: the item fails, the traceback goes to the log, the batch goes on."""
    said = f"{type(error).__name__}: {cause_of(error)}"[:500]  # a database's own words, without what it was given
    return Failed(kind=ErrorKind.BUG, error=said, log="".join(traceback.format_exception(error))[-8000:])
