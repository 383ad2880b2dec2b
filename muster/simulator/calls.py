"""The counters behind `/_sim/calls`: what each upstream was asked, how much at once, and what it answered."""

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from muster.simulator.rate import WINDOW


class Calls:
    """Counts by upstream; one instance for each application."""

    def __init__(self, upstreams: Iterable[str]) -> None:
        self._upstreams = tuple(upstreams)
        self._in_flight = Counter[str]()
        self.reset()

    def reset(self) -> None:
        """Forget everything but what is in flight at this moment."""
        self._calls = {name: Counter[str]() for name in self._upstreams}
        self._turns = {name: Counter[str]() for name in self._upstreams}
        self._answered = {name: Counter[str]() for name in self._upstreams}
        self._most = {name: self._in_flight[name] for name in self._upstreams}
        self._minute = {name: deque[float]() for name in self._upstreams}
        self._most_in_minute = dict.fromkeys(self._upstreams, 0)

    def called(self, upstream: str, identity: str) -> None:
        """Note a call that wants work done, whatever becomes of it."""
        self._calls[upstream][identity] += 1
        minute, now = self._minute[upstream], time.monotonic()
        minute.append(now)
        while minute[0] <= now - WINDOW:
            minute.popleft()
        self._most_in_minute[upstream] = max(self._most_in_minute[upstream], len(minute))

    def turn(self, upstream: str, identity: str) -> int:
        """The number of this call among the let-in calls of its identity, from 1.

        Calls that the key or the rate kept out have no number: how many there are depends on the
        client's haste, and the faults of the others must not.
        """
        self._turns[upstream][identity] += 1
        return self._turns[upstream][identity]

    def enter(self, upstream: str) -> None:
        """One more piece of work is in flight."""
        self._in_flight[upstream] += 1
        self._most[upstream] = max(self._most[upstream], self._in_flight[upstream])

    def leave(self, upstream: str) -> None:
        """One piece of work has ended, or its caller has gone."""
        self._in_flight[upstream] -= 1

    def answered(self, upstream: str, status: int) -> None:
        """Note an answer of any kind; a call left hanging has none."""
        self._answered[upstream][str(status)] += 1

    def snapshot(self) -> dict[str, Any]:
        """Everything as `/_sim/calls` gives it."""
        return {
            "calls": self._calls,
            "in_flight": {name: self._in_flight[name] for name in self._upstreams},
            "max_in_flight": self._most,
            "max_in_minute": self._most_in_minute,
            "answered": self._answered,
        }
