"""What a lane may use of an upstream until when, as it keeps it between two beats; the ledger decides, this obeys.

The clock here runs on while the machine sleeps, and starts before the beat's transaction: a lane that was frozen finds
its allotment expired, and starts nothing until it has beaten again.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import httpx

from muster.breaker import FAILURES, Heard
from muster.outcomes import ErrorKind, Outcome, Retry, Succeeded
from muster.shares import BEAT_S, LATE_S
from muster.states import BreakerState
from muster.upstreams.answers import Answer
from muster.upstreams.caller import Call, Caller
from muster.upstreams.hints import Room

TTL_S: Final = 4.5  # an allotment lasts so long from the beat that gave it
GRACE_S: Final = 0.5  # two clocks may run so much apart meanwhile
LEAST_HOLD_S: Final = 1.0  # after a 429 without a hint
LONGEST_HOLD_S: Final = 600.0  # for which everybody waits; an item may be asked to wait for longer
FAILING: Final = frozenset({ErrorKind.TRANSIENT, ErrorKind.UNKNOWN_OUTCOME})  # what speaks against the upstream itself
NEUTRAL: Final = frozenset({ErrorKind.BUG, ErrorKind.RESOURCE, ErrorKind.THROTTLED})  # what says nothing of its health
NOTHING: Final = Heard()


def boot_time() -> float:
    """Seconds on this machine's clock, which runs on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def hold_for(hint_s: float | None) -> float:
    """Seconds for which nobody calls an upstream that throttled."""
    return min(LONGEST_HOLD_S, max(LEAST_HOLD_S, hint_s or 0.0))


@dataclass(frozen=True, slots=True)
class Report:
    """What a lane tells the ledger of one upstream at a beat."""

    held: int = 0  # calls in flight
    in_hand: int = 0  # items that it has claimed and not begun
    most: int = 0  # calls it would have in flight, if it had items and the upstream allowed it
    slots: int = 0  # send slots that it has and may still use
    began: int = 0  # calls since the last beat
    longest_s: float = 0.0  # after which a call of its has timed out, whatever happens
    heard: Heard = NOTHING
    error: str | None = None  # of the last failure
    throttled_s: float | None = None  # how long the upstream asked to wait
    room: Room | None = None
    tokens_off: float = 0.0  # tokens used beyond those that were reserved; below 0 where it were fewer
    tokens_each: float | None = None  # that calls used, on average


@dataclass(frozen=True, slots=True)
class Grant:
    """What the ledger answers."""

    allotted: int | None = None  # calls in flight; None where nothing limits them
    slots: tuple[float, ...] | None = None  # more send slots, in seconds from the answer; None where no rate is limited
    tokens: float = 0.0  # reserved with each of these slots
    hold_s: float = 0.0  # no call begins before
    breaker: BreakerState = BreakerState.CLOSED
    due: int = 0  # items that could be claimed now, counted no further than is wanted


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to begin one call, from a moment on and not much later."""

    earliest: float
    latest: float
    tokens: float


class TooLate(Exception):
    """The send slot has passed; the call was not made."""


class Timely:
    """A lane's way out for one attempt: its first call to an upstream is made in its send slot or not at all."""

    def __init__(self, caller: Caller, upstream: str, slot: Slot | None) -> None:
        self._caller = caller
        self.expect(upstream, slot)

    def expect(self, upstream: str, slot: Slot | None) -> None:
        """The next call is to this upstream, in this slot, where its rate is limited."""
        self._upstream, self._slot = upstream, slot
        self.has_called = False

    async def send(self, call: Call, *, upstream: str, timeout: float) -> Answer:  # noqa: ASYNC109, the caller keeps it
        """Send as `Caller.send` does.

        Raises:
            Unanswered: as there.
            TooLate: the attempt took too long to come to its first call.
        """
        if upstream == self._upstream:
            slot, self._slot = self._slot, None
            if slot is not None and boot_time() > slot.latest:
                raise TooLate
            self.has_called = True
        return await self._caller.send(call, upstream=upstream, timeout=timeout)

    @property
    def seam(self) -> httpx.AsyncBaseTransport | None:
        """The caller's."""
        return self._caller.seam


class Allotment:
    """One upstream's, in one lane; before the first grant nothing may begin."""

    def __init__(self, most: int, longest_s: float) -> None:
        self.held = 0
        self._most, self._longest_s = most, longest_s
        self._grant = Grant(allotted=0)
        self._granted_at = 0.0
        self._pledged: int | None = None  # most calls in flight while the ledger has not answered a report
        self._held_until = 0.0
        self._slots: deque[Slot] = deque()
        self._began = 0
        self._answered, self._failures = False, 0
        self._error: str | None = None
        self._throttled_s: float | None = None
        self._tokens_off = 0.0
        self._tokens: list[int] = []  # of each call that used any

    @property
    def is_failing(self) -> bool:
        """Whether the breaker is open, or will be as soon as the ledger hears: a failure now is not the item's."""
        return self._grant.breaker is BreakerState.OPEN or self._failures >= FAILURES

    @property
    def has_news(self) -> bool:
        """Whether the ledger should hear at once."""
        probed = self._grant.breaker is BreakerState.HALF_OPEN and (self._answered or self._failures > 0)
        return probed or self._throttled_s is not None or self._failures >= FAILURES

    def wait(self, now: float) -> float:
        """Seconds until a call may begin; infinite if only a beat can bring the right to."""
        if now < self._held_until:
            return self._held_until - now
        if self._has_bad_news:
            return BEAT_S
        if not self._room(now):
            return BEAT_S if self.held or self._pledged is not None else float("inf")
        if self._grant.slots is None:
            return 0.0
        self._forfeit(now)
        return max(0.0, self._slots[0].earliest - now) if self._slots else float("inf")

    def claimable(self, now: float, within: float, ahead: int) -> int:
        """How many items may be claimed: for calls that may begin `within` so many seconds, and `ahead` of these."""
        if now + within < self._held_until or self._has_bad_news or self._grant.breaker is BreakerState.OPEN:
            return 0
        room = self._room(now)
        if room == 0 and self.held == 0:
            return 0
        if self._grant.slots is not None:
            self._forfeit(now)
            return min(room, sum(it.earliest <= now + within for it in self._slots))
        return room + ahead

    def begin(self, now: float) -> Slot | None:
        """Begin a call; its send slot, where the rate is limited."""
        self.held += 1
        self._began += 1
        if self._grant.slots is None:
            return None
        self._forfeit(now)
        return self._slots.popleft()

    def end(self, slot: Slot | None, outcome: Outcome | None) -> None:
        """End a call; None if it was not made, or nobody knows what came of it."""
        self.held -= 1
        if slot is not None:
            self._tokens_off += (0 if outcome is None else outcome.tokens) - slot.tokens
        if outcome is None:
            return
        if outcome.tokens:
            self._tokens.append(outcome.tokens)
        if isinstance(outcome, Retry) and outcome.kind is ErrorKind.THROTTLED:
            self._throttled_s = max(outcome.wait or 0.0, self._throttled_s or 0.0)
        elif isinstance(outcome, Retry) and outcome.kind in FAILING:
            self._failures, self._error = self._failures + 1, outcome.error
        elif _answered(outcome):
            self._answered, self._failures = True, 0

    def hold(self, now: float, seconds: float) -> None:
        """Begin nothing for so long: the upstream asked for it."""
        self._held_until = max(self._held_until, now + seconds)

    def report(self, now: float, in_hand: int, room: Room | None) -> Report:
        """What the ledger is to hear; said once."""
        self._forfeit(now)
        self._pledged = self.held + in_hand
        tokens_each = sum(self._tokens) / len(self._tokens) if self._tokens else None
        if self._has_bad_news:
            self.hold(now, BEAT_S)  # until the ledger has said what to make of it
        report = Report(
            self.held, in_hand, self._most, len(self._slots), self._began, self._longest_s,
            Heard(self._answered, self._failures), self._error, self._throttled_s, room, self._tokens_off, tokens_each,
        )  # fmt: skip
        self._began, self._answered, self._failures, self._error = 0, False, 0, None
        self._throttled_s, self._tokens_off, self._tokens = None, 0.0, []
        return report

    def take(self, grant: Grant, asked_at: float, now: float) -> None:
        """Go on with what the ledger granted to a report of `asked_at`; its transaction ended now."""
        self._grant, self._granted_at, self._pledged = grant, asked_at, None
        if grant.hold_s:
            self._held_until = max(self._held_until, asked_at + grant.hold_s)
        if grant.slots is None:
            self._slots.clear()
        else:  # the ledger's moment lies between the two: so a slot is never used early, and never late
            self._slots.extend(Slot(now + it, asked_at + it + LATE_S, grant.tokens) for it in grant.slots)

    @property
    def _has_bad_news(self) -> bool:
        return self._failures >= (1 if self._grant.breaker is BreakerState.HALF_OPEN else FAILURES)

    def _room(self, now: float) -> int:
        """Calls that may begin beside those in flight."""
        if now >= self._granted_at + TTL_S:
            return 0  # also without a limit: there may be one by now
        bounds = (self._most, self._grant.allotted, self._pledged)
        return max(0, min(it for it in bounds if it is not None) - self.held)

    def _forfeit(self, now: float) -> None:
        while self._slots and self._slots[0].latest < now:
            self._tokens_off -= self._slots.popleft().tokens


def _answered(outcome: Outcome) -> bool:
    """Whether the upstream is well, whatever it said; an item may also be skipped or fail without any call."""
    return isinstance(outcome, Succeeded) or outcome.kind not in {None, *NEUTRAL}
