"""Lanes as mapped Prefect task runs, awaited without blocking the loop that beats for the driver."""

import asyncio
from typing import Any

from prefect import unmapped
from prefect.futures import wait

from muster import signals
from muster.ledger.lease import Lease
from tasks.work import work

STOP_SECONDS = 10  # lanes end within their grace; a stuck one is not waited for


async def run_lanes(lease: Lease, n: int) -> list[BaseException]:
    """Map `work` over n lanes and wait for them; what killed any of them."""
    futures = work.map(list(range(1, n + 1)), lease=unmapped(lease))
    try:
        await asyncio.to_thread(wait, futures)  # `.result()` here would stop the beats
    except asyncio.CancelledError:
        signals.stop()
        await asyncio.to_thread(wait, futures, STOP_SECONDS)
        raise
    return [error for future in futures if (error := _error_of(future)) is not None]


def _error_of(future: Any) -> BaseException | None:
    state = future.state
    return state.data if state.is_failed() or state.is_crashed() else None
