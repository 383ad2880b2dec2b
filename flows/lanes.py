"""Lanes as mapped Prefect task runs, awaited without blocking the loop that beats for the driver."""

import asyncio
from typing import Any

from prefect import unmapped

from muster import signals
from muster.ledger.lease import Lease
from tasks.work import work

STOP_SECONDS = 10  # lanes end within their grace; a stuck one is not waited for


async def run_lanes(lease: Lease, n: int, apart: bool) -> list[BaseException]:
    """Map `work` over n lanes and wait for them; what killed any of them."""
    futures: list[Any] = work.map(list(range(1, n + 1)), lease=unmapped(lease), apart=unmapped(apart))
    # Awaited as futures of this loop: `.result()` would stop the beats, a thread for each wait would run out.
    ends = [asyncio.wrap_future(future.wrapped_future) for future in futures]
    try:
        await asyncio.wait(ends)
    except asyncio.CancelledError:
        signals.stop()
        await asyncio.wait(ends, timeout=STOP_SECONDS)
        raise
    states = [end.result() for end in ends]
    return [state.data for state in states if state.is_failed() or state.is_crashed()]
