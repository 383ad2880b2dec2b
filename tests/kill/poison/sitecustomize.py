"""Puts poison into this process: an item with `poison` in its key brings it down, as a broken C library would."""

import os
import signal
from typing import Any

from muster.workloads.profiles import Profiles

_attempt = Profiles.attempt


async def _or_die(self: Profiles, item: Any, ctx: Any) -> Any:
    if "poison" in item.key:
        os.kill(os.getpid(), signal.SIGKILL)
    return await _attempt(self, item, ctx)


Profiles.attempt = _or_die  # type: ignore[method-assign]
