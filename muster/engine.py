"""What a lane does: claim due items, attempt them at once, settle their outcomes in group commits, until none is left.

The lane's clerk is the only one that talks to the ledger about items, one transaction at a time, so an attempt never
waits for another attempt's commit and a commit carries everything that ended in the meantime.
"""

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final
from uuid import uuid4

from muster.allotment import boot_time
from muster.attempts import Attempts, Job, bug_outcome
from muster.errors import LeaseLost, Unsettled
from muster.landing import Claimed, Landing, give_back, land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.ledger.standing import Ready, Standing
from muster.settings import Settings
from muster.shares import BEAT_S
from muster.upstreams.caller import Caller

GATHER_S: Final = 0.05  # outcomes wait so long for company
GATHER_MOST: Final = 500  # or until they are so many
IDLE_S: Final = 0.25  # an idle lane looks up so often
CLAIM_FOR_S: Final = 0.5  # items are claimed for send slots that are so near
HAND_BACK_S: Final = 2.0  # an item that could not begin for longer goes back to the queue


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
        self._landed: list[Landing] = []
        self._attempts = Attempts(
            book, caller, settings, job, self.name, self._landed.append, self._ended, self._queued
        )
        self._look = asyncio.Event()
        self._speak = asyncio.Event()  # there is something that the ledger should hear before the next beat
        self._look_at = self._timer_at = 0.0
        self._may_claim_ahead = not (
            job.alone or job.limits.fail_fast or job.terms.target is not None or job.terms.at_once is not None
        )
        self._ahead = self._least_ahead = job.limits.in_flight // 2  # items claimed beyond the free slots
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
            await self._say()
            while self._is_wanted():
                await self._turn()
            await self._finish_calls()
        except LeaseLost as lost:
            self._failure = lost
        finally:
            beats.cancel()
            await self._leave()
        failure = self._failure or self._attempts.failure
        if failure is not None:
            raise failure
        return self.tally

    def _is_wanted(self) -> bool:
        return self._has_work() and not self._has_failed() and not self._stopping()

    def _has_failed(self) -> bool:
        return self._failure is not None or self._attempts.failure is not None

    def _has_work(self) -> bool:
        """Whether this lane may still get items: suspects only if it works alone, and then nothing else."""
        if self._standing is None:
            return True
        ready = self._ready
        is_mine = ready is None or (ready.suspects > 0 if self._job.alone else ready.others)
        return self._standing.is_workable and (is_mine or bool(self._attempts or self._claimed or self._landed))

    async def _turn(self) -> None:
        """One turn of the clerk: settle what landed, claim what is wanted, start it, and wait for more."""
        await self._settle()
        if self._is_wanted():
            await self._claim()
        self._fill()
        await self._wait()

    async def _settle(self) -> None:
        landings = self._landed[:]
        self._landed.clear()
        self._look_at = 0.0
        if not landings:
            return
        try:
            await self._record(landings)
        except Unsettled:  # a workload that cannot write its rows must not stop the batch
            await self._record_one_by_one(landings)
        self._ahead = min(max(len(landings), self._least_ahead), 4 * self._job.limits.in_flight)

    async def _record(self, landings: list[Landing]) -> None:
        self._standing = await self._book.lanes.settle(self._job.lease, self.name, landings, self._job.workload.settle)
        self.tally.update(it.state for it in landings)

    async def _record_one_by_one(self, landings: list[Landing]) -> None:
        """Find the outcome whose rows cannot be written, and record it as a bug; the others land as they said."""
        for landing in landings:
            try:
                await self._record([landing])
            except Unsettled as bug:
                outcome = bug_outcome(bug.__cause__ or bug)
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
        """How many items of each upstream to claim: what its allotment lets begin, and as many as one turn closes."""
        limits = self._job.limits
        have = len(self._attempts) + len(self._claimed)
        ahead = self._ahead if self._may_claim_ahead else 0
        n = limits.in_flight + ahead - have
        if n < (1 if self._job.terms.at_once else max(1, limits.in_flight // 4)) and have:
            return {}  # a few free slots do not earn a transaction, but for long attempts
        now, in_hand = boot_time(), Counter(it.upstream for it in self._claimed)
        stopped = self._standing.stopped if self._standing else {}
        could = {
            name: it.claimable(now, self._patience(CLAIM_FOR_S), ahead) - in_hand[name]
            for name, it in self._attempts.allotments.items()
            if name not in {*stopped, *self._job.terms.beside}
        }
        open_to = {name: most for name, most in could.items() if most > 0}
        return {name: min(most, max(1, n // len(open_to))) for name, most in open_to.items()}

    def _patience(self, seconds: float) -> float:
        """For how long an item may be in hand and not begun: where the first failure ends all, not at all."""
        return 0.0 if self._job.limits.fail_fast else seconds

    def _held_ids(self) -> list[int]:
        return [*(it.id for it in self._claimed), *self._attempts.ids, *(it.item.id for it in self._landed)]

    def _fill(self) -> None:
        """Start claimed items as their allotments allow; those that would have to wait for long are given back."""
        now, stopped = boot_time(), self._standing.stopped if self._standing else {}
        waiting: list[Claimed] = []
        while self._claimed and len(self._attempts) < self._job.limits.in_flight:
            item = self._claimed.popleft()
            wait = self._attempts.allotments[item.upstream].wait(now)
            if item.upstream in stopped:
                self._landed.append(give_back(item))
            elif not wait:
                self._attempts.start(item)
            elif wait > self._patience(HAND_BACK_S):
                self._landed.append(give_back(item))
            else:
                waiting.append(item)
                self._look_in(wait)
        self._claimed.extendleft(reversed(waiting))
        self._admit()

    def _admit(self) -> None:
        """Let attempts go on that wait for a place at another upstream."""
        wait = self._attempts.line.admit(boot_time())
        if wait < BEAT_S:  # else a beat comes first
            self._look_in(wait)

    def _queued(self) -> None:
        self._speak.set()
        self._look.set()

    def _look_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if not loop.time() < self._timer_at <= loop.time() + seconds:
            self._timer_at = loop.time() + seconds
            loop.call_at(self._timer_at, self._look.set)

    def _ended(self) -> None:
        if not self._stopping() and not self._has_failed():
            self._fill()
        if any(it.has_news for it in self._attempts.allotments.values()):
            self._speak.set()
        if not self._attempts or len(self._landed) >= GATHER_MOST:
            self._look.set()
        elif not self._look_at:
            loop = asyncio.get_running_loop()
            self._look_at = loop.time() + GATHER_S
            loop.call_at(self._look_at, self._look.set)

    async def _wait(self) -> None:
        if self._landed and not self._attempts:
            return
        self._look.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._idle_s):
                await self._look.wait()

    async def _beat(self) -> None:
        while True:
            self._speak.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(BEAT_S, self._book.stale_after_s / 8)):
                    await self._speak.wait()
            try:
                await self._say()
            except Exception as lost:  # noqa: BLE001, a lane that cannot beat must not go on
                self._failure = lost
                self._attempts.cancel()
                self._look.set()
                return

    async def _say(self) -> None:
        """Beat: tell the ledger how the lane stands with its upstreams, and take what it may use of them now."""
        asked_at, in_hand = boot_time(), Counter(it.upstream for it in self._claimed) + self._attempts.line.waiting
        mine = self._attempts.allotments
        reports = {name: it.report(asked_at, in_hand[name], self._caller.room(name)) for name, it in mine.items()}
        self._standing, grants = await self._book.lanes.beat(self._job.lease, self.name, reports)
        for name, grant in grants.items():
            mine[name].take(grant, asked_at, boot_time())
        self._look.set()

    async def _finish_calls(self) -> None:
        """Let calls in flight finish: all of them, or on a stop those that end within the grace."""
        self._claimed.clear()  # `leave` gives them back
        self._attempts.line.close()
        end = float("inf")
        while self._attempts and not self._has_failed() and boot_time() < end:
            if self._stopping():
                end = min(end, boot_time() + self._settings.stop_grace_seconds)
            await self._attempts.any_ended(min(IDLE_S, max(0.0, end - boot_time())))
            self._admit()
            if self._landed:
                await asyncio.sleep(GATHER_S)
                await self._settle()

    async def _leave(self) -> None:
        """Leave nothing running here and, if it may still be written, nothing unsettled or held in the ledger."""
        abandoned = self._attempts.cancel()
        await self._attempts.gone()
        if not isinstance(self._failure or self._attempts.failure, LeaseLost):
            with suppress(LeaseLost):
                await self._settle()
                await self._book.lanes.leave(self._job.lease, self.name, abandoned)
