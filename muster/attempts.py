"""A lane's attempts in flight: each begins within its allotment, and whatever happens in it becomes an outcome."""

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from muster.allotment import Allotment, Slot, Timely, TooLate, boot_time, hold_for
from muster.errors import ConfigurationError, LeaseLost, Unreachable
from muster.landing import Claimed, Landing, give_back, land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.ledger.trouble import cause_of
from muster.limits import Limits, Terms
from muster.outcomes import ErrorKind, Failed, Outcome, Retry
from muster.preflight import pointing
from muster.settings import Settings
from muster.upstreams.answers import Unanswered
from muster.upstreams.caller import Caller
from muster.workload import Context, Workload

LONGEST_BUSY_S: Final = 5.0  # for which a lane asks nobody whether what its items need is free
STOPPED_S: Final = 60.0


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
    """What is in flight; `landed` is told where each item goes, `ended` that a place is free."""

    def __init__(
        self,
        book: Book,
        caller: Caller,
        settings: Settings,
        job: Job,
        lane: str,
        landed: Callable[[Landing], None],
        ended: Callable[[], None],
    ) -> None:
        self.failure: BaseException | None = None  # what the lane cannot go on with
        most, longest_s = job.limits.in_flight, job.workload.longest_s
        self.allotments = {name: Allotment(most, longest_s) for name in job.upstreams}
        self._book, self._caller, self._settings, self._job, self._lane = book, caller, settings, job, lane
        self._landed, self._ended = landed, ended
        self._active: dict[asyncio.Task[None], Claimed] = {}

    def __len__(self) -> int:
        return len(self._active)

    @property
    def ids(self) -> list[int]:
        """The items in flight."""
        return [it.id for it in self._active.values()]

    def start(self, item: Claimed) -> None:
        """Begin an attempt; the upstream's allotment allows it now."""
        slot = self.allotments[item.upstream].begin(boot_time())
        task = asyncio.create_task(self._attempt(item, slot))
        self._active[task] = item
        task.add_done_callback(self._end)

    async def any_ended(self, timeout: float) -> None:  # noqa: ASYNC109, passed on
        """Wait until an attempt in flight ends, so many seconds at most."""
        if self._active:
            await asyncio.wait(self._active, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def cancel(self) -> dict[str, int]:
        """Give up waiting for what is in flight; how many calls of each upstream, which may still be carried out."""
        for task in self._active:
            task.cancel()
        return dict(Counter(it.upstream for it in self._active.values()))

    async def gone(self) -> None:
        """Wait until what was cancelled has ended."""
        await asyncio.gather(*self._active, return_exceptions=True)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._active.pop(task, None)
        self._ended()

    async def _attempt(self, item: Claimed, slot: Slot | None) -> None:
        allotment, started = self.allotments[item.upstream], time.perf_counter()
        outcome: Outcome | None = None
        try:
            outcome = await self._outcome(item, slot)
        except (LeaseLost, Unreachable) as lost:
            self.failure = lost
        except TooLate:
            self._landed(give_back(item))
        except asyncio.CancelledError:  # it may have been carried out and billed
            said = Retry(kind=ErrorKind.UNKNOWN_OUTCOME, error="Its process ended before the answer came.")
            self._landed(land(item, said, tries=self._job.limits.tries, blameless=True))
        finally:
            allotment.end(slot, outcome)
        if outcome is not None:
            self._land(item, outcome, allotment, int(1000 * (time.perf_counter() - started)))

    async def _outcome(self, item: Claimed, slot: Slot | None) -> Outcome:
        limit = asyncio.timeout(self._job.workload.longest_s)
        try:
            async with limit:
                return await self._job.workload.attempt(item, self._context(item, slot))
        except Unanswered as unanswered:
            return unanswered.outcome
        except TimeoutError as late:
            return self._too_long() if limit.expired() else bug_outcome(late)
        except (LeaseLost, Unreachable, TooLate):
            raise
        except ConfigurationError as wrong:  # such as an address that is none: no item can succeed until it is mended
            return Retry(kind=ErrorKind.DENIED, error=str(wrong))
        except Exception as bug:  # noqa: BLE001, a workload's own bug is an outcome
            return bug_outcome(bug)

    def _too_long(self) -> Outcome:
        said = f"No answer within {self._job.workload.longest_s:g} s; the attempt was given up."
        return Retry(kind=ErrorKind.UNKNOWN_OUTCOME, error=said)

    def _land(self, item: Claimed, outcome: Outcome, allotment: Allotment, ms: int) -> None:
        landing = land(item, outcome, tries=self._job.limits.tries, ms=ms, blameless=allotment.is_failing)
        if isinstance(outcome, Retry) and outcome.kind is ErrorKind.THROTTLED:
            allotment.hold(boot_time(), hold_for(outcome.wait))  # the whole upstream slows, not the one item
        elif isinstance(outcome, Retry) and outcome.busy:
            allotment.hold(boot_time(), min(LONGEST_BUSY_S, outcome.wait or 0.0))  # the next item would find no more
        elif landing.stops_upstream:
            allotment.hold(boot_time(), STOPPED_S)  # by then the ledger has said so to every lane
            landing = replace(landing, error=pointing(item.upstream, landing.kind, landing.error or ""))
        self._landed(landing)

    def _context(self, item: Claimed, slot: Slot | None) -> Context:
        known: dict[str, Any] | None = {} if item.starts == 1 else None

        async def step(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
            nonlocal known
            known = await self._book.lanes.recall(item) if known is None else known
            if name not in known:
                result = await call()
                await self._book.lanes.remember(self._job.lease, self._lane, item, name, result)
                known[name] = result
            return known[name]

        caller = self._caller if slot is None else Timely(self._caller, item.upstream, slot)
        return Context(self._job.limits, self._settings, self._book, caller, step, self._lane)


def bug_outcome(error: BaseException) -> Outcome:
    """A workload's own fault: the item fails, the traceback goes to the log, the batch goes on."""
    said = f"{type(error).__name__}: {cause_of(error)}"[:500]  # a database's own words, without what it was given
    return Failed(kind=ErrorKind.BUG, error=said, log="".join(traceback.format_exception(error))[-8000:])
