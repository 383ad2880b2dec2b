"""Waiting for something outside to be there."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], T | None], *, seconds: float) -> T:
    """What `look` gives as soon as it gives something; asked ten times a second.

    Raises:
        TimeoutError: it gave nothing in that time.
    """
    async with asyncio.timeout(seconds):
        while (found := look()) is None:  # noqa: ASYNC110, nobody outside sets an event
            await asyncio.sleep(0.1)
        return found
