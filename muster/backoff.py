"""When to come back: exponential with full jitter, and a hint is a minimum."""

import random

BASE_S = 1.0
CAP_S = 300.0


def delay(tries: int, hint: float | None = None, *, rng: random.Random | None = None) -> float:
    """Seconds until the next try after `tries` used ones; never less than the upstream's `hint`.

    Full jitter (uniform between nothing and the exponential) keeps many items from coming back together; behind a
    hint only a tenth of it is added, at most 5 s.
    """
    draw = (rng or random).uniform
    if hint is not None:
        return hint + draw(0, min(5.0, 0.1 * hint + 0.1))
    return draw(0, min(CAP_S, BASE_S * 2 ** min(max(tries - 1, 0), 20)))
