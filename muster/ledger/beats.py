"""Who is alive: judged by the ledger's beats alone, never by what Prefect or the operating system says."""

from datetime import datetime, timedelta
from typing import Final

STALE_AFTER: Final = timedelta(seconds=20)  # a driver or lane that was silent so long is dead
_SKEW: Final = timedelta(seconds=5)  # two machines' clocks may differ so much


def is_alive(beat_at: datetime | None, now: datetime, stale_after: timedelta = STALE_AFTER) -> bool:
    """Whether whoever beat last is taken for alive; a beat from the future is unknown, not healthy."""
    return beat_at is not None and -_SKEW <= now - beat_at < stale_after


def silence(beat_at: datetime | None, now: datetime) -> str:
    """How long nobody beat, for people."""
    if beat_at is None:
        return "never heard of"
    seconds = (now - beat_at).total_seconds()
    return f"silent for {seconds:.0f} s" if seconds >= 0 else f"last heard of {-seconds:.0f} s in the future"
