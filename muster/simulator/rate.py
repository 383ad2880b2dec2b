"""The sliding window that keeps an upstream to so many calls a minute."""

from collections import deque
from dataclasses import dataclass, field

WINDOW = 60.0


@dataclass(frozen=True, slots=True)
class RateState:
    """How much of the window is left, and the seconds until all of it is."""

    limit: int
    remaining: int
    reset: float


@dataclass(slots=True)
class SlidingWindow:
    """Lets in `limit` calls within any 60 seconds; those it turns away do not count."""

    limit: int | None
    _taken: deque[float] = field(default_factory=deque)

    def admit(self, now: float) -> float | None:
        """Take a place and say None, or say in how many seconds the next place is free."""
        if self.limit is None:
            return None
        self._forget(now)
        if len(self._taken) >= self.limit:
            return self._taken[0] + WINDOW - now
        self._taken.append(now)
        return None

    def state(self, now: float) -> RateState | None:
        """What the rate headers tell; None without a limit."""
        if self.limit is None:
            return None
        self._forget(now)
        reset = self._taken[-1] + WINDOW - now if self._taken else 0.0
        return RateState(self.limit, self.limit - len(self._taken), reset)

    def clear(self) -> None:
        """Make every place free."""
        self._taken.clear()

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0] + WINDOW <= now:
            self._taken.popleft()


def go_duration(seconds: float) -> str:
    """Seconds as Go writes them: `12ms`, `1s`, `6m0s`, `1h2m3.5s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:  # noqa: PLR2004 - less than a second
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
