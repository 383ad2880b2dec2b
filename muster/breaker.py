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

    def after(self, lane: str, heard: Heard, now: datetime, *, probe_lives: bool) -> "Breaker":
        """The breaker after a lane came by; the first that does when its time has come probes."""
        if heard.answered:
            return self._counted(heard.failures, now) if self.state is BreakerState.CLOSED else _closed(heard.failures)
        match self.state:
            case BreakerState.CLOSED:
                return self._counted(self.failures + heard.failures, now)
            case BreakerState.HALF_OPEN:
                return self._probed(lane, heard, now, probe_lives=probe_lives)
            case BreakerState.OPEN:
                due = self.open_until is None or now >= self.open_until
                return replace(self, state=BreakerState.HALF_OPEN, probe=lane) if due else self

    def _counted(self, failures: int, now: datetime) -> "Breaker":
        return self._opened(now) if failures >= FAILURES else _closed(failures)

    def _probed(self, lane: str, heard: Heard, now: datetime, *, probe_lives: bool) -> "Breaker":
        if lane == self.probe and heard.failures:
            return self._opened(now)
        return self if probe_lives else replace(self, probe=lane)

    def _opened(self, now: datetime) -> "Breaker":
        cooldown = min(LONGEST_S, COOLDOWN_S * 2 ** min(self.openings, 10))
        return Breaker(BreakerState.OPEN, FAILURES, self.openings + 1, now + timedelta(seconds=cooldown))


def _closed(failures: int) -> Breaker:
    return Breaker(failures=failures)
