"""What one lane is granted of one upstream, from the rows as they stand; pure, so that a simulation can drive it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from muster.allotment import GRACE_S, LONGEST_HOLD_S, TTL_S, Grant, Report
from muster.ledger.database import Row
from muster.ledger.pacing import Pace, breaker_of, breaker_row, draw, limit_now, pace_now, told
from muster.shares import HORIZON_S, Claimant, allotment, slots_to_draw
from muster.states import BreakerState

FRESH: Final = timedelta(seconds=TTL_S + GRACE_S)  # a lane that was silent for longer starts no call any more
MOST_SLOTS: Final = 1000  # that a lane may want at one time


def grant_to(
    lane: Row, report: Report, due: int, upstream: Row, rows: Sequence[Row], now: datetime, in_line: int = 0
) -> tuple[Grant, dict[str, Any], dict[str, Any]]:
    """Hear a lane, and grant it its part until its next beat; with its own row, and the upstream's, after that.

    `lane` has `id`, `batch_id`, `client_id`, `weight` and `served`; `rows` are those of all lanes of the upstream,
    silent ones charged with what they may still have in flight; `due` is how many items the lane could claim; `in_line`
    is how many clients wait for a driver.
    """
    others = [it for it in rows if it["lane"] != lane["id"]]
    fresh = [it for it in others if now - it["beat_at"] <= FRESH]
    silent = sum(charge(it) for it in others if now - it["beat_at"] > FRESH)
    before = next((it for it in rows if it["lane"] == lane["id"]), {})
    mine = _heard(lane, report, due, before, now)
    probe_lives = any(it["lane"] == upstream["probe"] for it in fresh)
    could = report.held == 0 and report.in_hand + due > 0
    breaker = breaker_of(upstream).after(
        lane["id"], report.heard, now, probe_lives=probe_lives, can_probe=could, is_calling=report.held > 0
    )
    upstream = {**upstream, **breaker_row(upstream, breaker, report.error, now)}
    upstream = told(upstream, report, silent + sum(charge(it) for it in fresh) + report.held, now)
    grant, slots = _grant(upstream, mine, fresh, silent, now, (report.most, in_line))
    after = {**mine, "allotted": grant.allotted, "slots": mine["slots"] + len(slots)}
    if after["slots"]:
        after["slots_since"] = None
    return replace(grant, due=due), after, slots_given(upstream, slots, now)


def charge(row: Row) -> int:
    """What a lane may have in flight before it is heard of again; without an allotment, all that it wants."""
    return int(max(row["held"], row["pledged"], row["wanted"] if row["allotted"] is None else row["allotted"]))


def slots_given(upstream: dict[str, Any], slots: Sequence[datetime], now: datetime) -> dict[str, Any]:
    """The upstream's row after these send slots were given away."""
    pace = pace_now(upstream, now)
    return upstream if pace is None or not slots else draw(upstream, pace, slots)


def _heard(lane: Row, report: Report, due: int, was: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The lane's row, but for what it is granted; the moments since when it holds or waits go on from the last."""
    wanted = min(report.most, report.held + report.in_hand + due)
    slots_wanted = min(MOST_SLOTS, report.in_hand + due)
    waits = _since(was.get("waiting_since"), now, goes_on=not report.began)
    return {
        "lane": lane["id"],
        "upstream": was.get("upstream"),
        "batch_id": lane["batch_id"],
        "client_id": lane["client_id"],
        "weight": lane["weight"],
        "served": lane["served"],
        "held": report.held,
        "pledged": _pledged(report, was.get("allotted", 0)),
        "allotted": was.get("allotted", 0),
        "wanted": wanted,
        "slots": report.slots,
        "slots_wanted": slots_wanted,
        "waiting_since": waits if wanted and not report.held else None,
        "held_since": _since(was.get("held_since"), now) if report.held else None,
        "slots_since": _since(was.get("slots_since"), now) if slots_wanted and not report.slots else None,
        "beat_at": now,
        "expires_at": now + FRESH + timedelta(seconds=report.longest_s),
    }


def _pledged(report: Report, allotted: int | None) -> int:
    """What a lane may have in flight before it hears what it is granted now; it begins nothing beyond meanwhile."""
    about = report.held + report.in_hand
    return about if allotted is None else min(allotted, about)


def _since(before: datetime | None, now: datetime, *, goes_on: bool = True) -> datetime:
    return before if before is not None and goes_on else now


def _grant(
    upstream: Row, mine: Row, others: Sequence[Row], silent: int, now: datetime, bounds: tuple[int, int]
) -> tuple[Grant, list[datetime]]:
    breaker = BreakerState(upstream["breaker"])
    hold_s = _hold(upstream, now)
    allotted = _allotted(upstream, breaker, mine, others, silent, now, bounds)
    pace = pace_now(upstream, now)
    if pace is None:
        return Grant(allotted, None, 0.0, hold_s, breaker), []
    slots = _draw(pace, mine, others, now, bounds[1]) if allotted != 0 and hold_s < HORIZON_S else []
    if allotted is not None:  # no more than its send slots let it begin: the rest is others'
        allotted = min(allotted, mine["held"] + mine["slots"] + len(slots))
    return Grant(allotted, tuple((it - now).total_seconds() for it in slots), pace.tokens, hold_s, breaker), slots


def _allotted(
    upstream: Row,
    breaker: BreakerState,
    mine: Row,
    others: Sequence[Row],
    silent: int,
    now: datetime,
    bounds: tuple[int, int],
) -> int | None:
    limit, (most, in_line) = limit_now(upstream, now), bounds
    share = None
    if limit is not None:
        claimants = [_claimant(it) for it in [*others, mine]]
        share = allotment(limit, silent, claimants, mine["lane"], now.timestamp(), most=most, in_line=in_line)
    if breaker is BreakerState.CLOSED:
        return share
    if breaker is BreakerState.OPEN:
        return 0  # also where its time has come: somebody has to be the one that probes
    return min(1, 1 if share is None else share) if upstream["probe"] == mine["lane"] else 0


def _hold(upstream: Row, now: datetime) -> float:
    """Seconds before which nobody begins a call."""
    is_open = upstream["breaker"] == BreakerState.OPEN
    until: list[datetime | None] = [upstream["held_until"], upstream["open_until"] if is_open else None]
    return max([0.0, *(min(LONGEST_HOLD_S, (it - now).total_seconds()) for it in until if it is not None)])


def _draw(pace: Pace, mine: Row, others: Sequence[Row], now: datetime, in_line: int) -> list[datetime]:
    claimants = [_slot_claimant(it) for it in [*others, mine]]
    n = slots_to_draw(pace.free(now), claimants, mine["lane"], now.timestamp(), soon=pace.is_soon(now), in_line=in_line)
    return pace.next(n, now)


def _claimant(row: Row) -> Claimant:
    return Claimant(
        row["lane"], row["client_id"], row["weight"], row["held"], charge(row), row["wanted"],
        _seconds(row["waiting_since"]), _seconds(row["held_since"]), row["served"],
    )  # fmt: skip


def _slot_claimant(row: Row) -> Claimant:
    has = _seconds(row["beat_at"]) if row["slots"] else None
    return Claimant(
        row["lane"], row["client_id"], row["weight"], row["slots"], 0, max(row["slots"], row["slots_wanted"]),
        _seconds(row["slots_since"]), has, row["served"],
    )  # fmt: skip


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
