"""Attempts that wait for a place at another upstream than their item's, first come, first served, item in hand."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from muster.allotment import Allotment, Slot, TooLate, boot_time

LAST_WAIT_S: Final = 2.0  # once the lane is to end: what cannot begin by then is given back


class Line:
    """One lane's; `queued` is told when somebody has to wait, so that the ledger hears of it."""

    def __init__(self, allotments: Mapping[str, Allotment], queued: Callable[[], None]) -> None:
        self._allotments, self._queued = allotments, queued
        self._waiting: dict[asyncio.Future[Slot | None], str] = {}
        self._is_closing = False

    @property
    def waiting(self) -> Counter[str]:
        """How many wait, by upstream."""
        return Counter(self._waiting.values())

    async def wait(self, upstream: str) -> Slot | None:
        """Wait until a call may begin, and begin it; its send slot, where the rate is limited.

        Raises:
            TooLate: the lane is to end, and no place was free in its last seconds.
        """
        turn: asyncio.Future[Slot | None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = upstream
        self.admit(boot_time())
        if not turn.done():
            self._queued()
            if self._is_closing:
                self._turn_away_later(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # begun, and nobody is there
                self._allotments[upstream].end(turn.result(), None)
            raise
        finally:
            self._waiting.pop(turn, None)

    def admit(self, now: float) -> float:
        """Begin the calls that may begin; seconds until the next one may, infinite where only a beat can say."""
        soonest = float("inf")
        for turn, upstream in list(self._waiting.items()):
            wait = self._allotments[upstream].wait(now)
            if not wait and not turn.done():
                turn.set_result(self._allotments[upstream].begin(now))
                del self._waiting[turn]
            elif wait:
                soonest = min(soonest, wait)
        return soonest

    def close(self) -> None:
        """The lane is to end: who waits is turned away soon, with nothing lost, for what was paid is remembered."""
        if not self._is_closing:
            self._is_closing = True
            for turn in self._waiting:
                self._turn_away_later(turn)

    def _turn_away_later(self, turn: "asyncio.Future[Slot | None]") -> None:
        def turn_away() -> None:
            if not turn.done():
                turn.set_exception(TooLate())

        asyncio.get_running_loop().call_later(LAST_WAIT_S, turn_away)
