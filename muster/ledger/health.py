"""How a use of an endpoint pair changes what is known of its proxy and session; pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from muster.states import ProxyState, SessionState
from muster.upstreams.blame import Blame
from muster.upstreams.pair import Verdict

COOLDOWN_S: Final = 900.0  # after a rate limit that says nothing of its end; twice as long after each further one
LONGEST_COOLDOWN_S: Final = 4 * 3600.0
RECHECK_S: Final = 300.0  # until a disabled proxy is looked at again; twice as long each time it fails
LONGEST_RECHECK_S: Final = 86_400.0
KEPT: Final = 0.7  # the part of the average latency that stays


def proxy_after(proxy: Mapping[str, Any], verdict: Verdict, now: datetime, most_errors: int) -> dict[str, Any]:
    """The proxy's columns after the use."""
    after: dict[str, Any] = {"requests": proxy["requests"] + verdict.requests}
    if verdict.ms is not None:
        before = proxy["latency_ms"]
        after["latency_ms"] = verdict.ms if before is None else KEPT * before + (1 - KEPT) * verdict.ms
    if verdict.answered:  # whatever the answer, the proxy does its work
        after |= {"verified_at": now, "errors": 0, "state": ProxyState.ACTIVE, "recheck_at": None}
    match verdict.blame:
        case Blame.NOBODY | Blame.ITEM:
            return {**after, "limited": 0, "last_ok_at": now}
        case Blame.PAIR:
            rest = timedelta(seconds=_cooldown(verdict.wait, proxy["limited"]))
            return {**after, **_failed(proxy, verdict), "limited": proxy["limited"] + 1, "cooldown_until": now + rest}
        case Blame.PROXY:
            return {**after, **_failed(proxy, verdict), **_broken(proxy, now, most_errors)}
        case Blame.SESSION:
            return {**after, **_failed(proxy, verdict)}
    return {**after, "verified_at": now if verdict.answered else None}  # the site's fault, or nobody's


def session_after(verdict: Verdict) -> dict[str, Any] | None:
    """The session's columns after the use, if they change."""
    if verdict.blame is not Blame.SESSION:
        return None
    return {"state": SessionState.DISABLED, "reason": verdict.error}


def _failed(proxy: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    return {"failures": proxy["failures"] + 1, "last_error": verdict.error}


def _broken(proxy: Mapping[str, Any], now: datetime, most_errors: int) -> dict[str, Any]:
    """One more error in a row; from `most_errors` on it is disabled, and looked at again ever more rarely."""
    errors = proxy["errors"] + 1
    after = {"errors": errors, "verified_at": None}
    if errors < most_errors:
        return after
    wait = min(LONGEST_RECHECK_S, RECHECK_S * 2 ** min(errors - most_errors, 20))
    return {**after, "state": ProxyState.DISABLED, "recheck_at": now + timedelta(seconds=wait)}


def _cooldown(told: float | None, limited: int) -> float:
    return told if told is not None else min(LONGEST_COOLDOWN_S, COOLDOWN_S * 2 ** min(limited, 20))
