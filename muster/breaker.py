"""The breaker of an upstream: after failures in a row nobody calls it but one lane that probes; pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from muster.states import BreakerState

FAILURES: Final = 10  # in a row, over all lanes, before it opens
COOLDOWN_S: Final = 5.0  # before the first probe; each that fails doubles it
LONGEST_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a lane heard of an upstream since it spoke of it last: any answer at all, and failures after the last."""

    answered: bool = False
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Breaker:
    """`open_until` is when it is probed, `probe` the lane that does, `openings` how often it opened in a row."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    openings: int = 0
    open_until: datetime | None = None
    probe: str | None = None

    def after(
        self, lane: str, heard: Heard, now: datetime, *, probe_lives: bool, can_probe: bool, is_calling: bool
    ) -> "Breaker":
        """The breaker after a lane came by; the first that has a call to make when its time has come probes.

        `can_probe` says whether it has one and none in flight, `is_calling` whether it has calls in flight: a lane that
        took the probe and then has nothing to make it with leaves it to the next.
        """
        if heard.answered:
            return self._counted(heard.failures, now) if self.state is BreakerState.CLOSED else _closed(heard.failures)
        match self.state:
            case BreakerState.CLOSED:
                return self._counted(self.failures + heard.failures, now)
            case BreakerState.HALF_OPEN:
                is_free = not probe_lives or self.probe is None or (lane == self.probe and not is_calling)
                return self._probed(lane, heard, now, lane if can_probe and lane != self.probe else None, is_free)
            case BreakerState.OPEN:
                return (
                    replace(self, state=BreakerState.HALF_OPEN, probe=lane) if can_probe and self.is_due(now) else self
                )

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be probed; a time that lies too far ahead was written before the clock was set back."""
        left = timedelta(0) if self.open_until is None else self.open_until - now
        return not timedelta(0) < left <= timedelta(seconds=LONGEST_S)

    def _counted(self, failures: int, now: datetime) -> "Breaker":
        return self._opened(now) if failures >= FAILURES else _closed(failures)

    def _probed(self, lane: str, heard: Heard, now: datetime, prober: str | None, is_free: bool) -> "Breaker":
        if lane == self.probe and heard.failures:
            return self._opened(now)
        return replace(self, probe=prober) if is_free else self

    def _opened(self, now: datetime) -> "Breaker":
        cooldown = min(LONGEST_S, COOLDOWN_S * 2 ** min(self.openings, 10))
        return Breaker(BreakerState.OPEN, FAILURES, self.openings + 1, now + timedelta(seconds=cooldown))


def _closed(failures: int) -> Breaker:
    return Breaker(failures=failures)
