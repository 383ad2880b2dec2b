"""Why a batch or an item has not run yet, or how it ended: one sentence for each thing it waits for; pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from muster.report import counted, outcome_of
from muster.states import CLOSED_ITEMS, READY_ITEMS, BatchState, BreakerState, ItemState

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger knows of one batch at one moment."""

    now: datetime
    batch: Row
    counts: Mapping[str, int]  # items by state
    next_due: datetime | None  # of those that wait for their next try
    upstreams: Sequence[Row]  # that its items call, with `in_flight` over all batches and `mine` of this one
    drivers: int  # that live
    ahead: int  # clients whose turn comes before
    blocker: Row | None  # another batch at work, of the same client and workload


@dataclass(frozen=True, slots=True)
class Trouble:
    """An upstream that is not called as usual, and how many open items that holds up."""

    upstream: Row
    held_up: int
    denied: str | None = None  # why it is called no more in these batches
    denied_since: datetime | None = None


def trouble_line(trouble: Trouble, now: datetime) -> str | None:
    """What is amiss with an upstream, since when, and what it holds up; None if nothing is."""
    name, items = trouble.upstream["name"], counted(trouble.held_up, "item")
    if trouble.denied is not None:
        why = trouble.denied.rstrip(".")
        return f"{name} is called no more since {_clock(trouble.denied_since)}, and holds up {items}: {why}."
    if held := _held(trouble.upstream, now):
        since = trouble.upstream["throttled_at"]
        told = f" (it throttled at {_clock(since)})" if since and "asked to wait" in held else ""
        return f"{name}{told} {held.rstrip('.')}; it holds up {items}, and none of them fails for it."
    if trouble.upstream["concurrency"] is not None and (gone := _gone(trouble.upstream)):
        return f"{name}: {gone}; that may hold up {items}."
    return None


def _gone(upstream: Row) -> str | None:
    """The calls that a killed process has left behind."""
    if not upstream["lost"]:
        return None
    calls, until = counted(upstream["lost"], "call"), _clock(upstream["lost_until"])
    return f"{calls} of a process that is gone may still be carried out, and count until {until}"


def explain_batch(facts: Facts) -> list[str]:
    """Sentences about a batch, the most pressing first."""
    return list(_batch(facts))


def explain_item(item: Row, before: int, facts: Facts) -> list[str]:
    """Sentences about one item of the batch; `before` is how many of its kind come before it."""
    return list(_item(item, before, facts))


def _batch(facts: Facts) -> Iterator[str]:
    batch = facts.batch
    name = f"Batch {batch['id']} ({batch['workload']} for {batch['client_id']})"
    match BatchState(batch["state"]):
        case BatchState.QUEUED:
            open_items = counted(batch["remaining"], "open item")
            yield f"{name} is queued since {_clock(batch['created_at'])}, with {open_items}."
            yield _queued(facts)
        case BatchState.IN_PROGRESS:
            yield f"{name} is being worked by {batch['driver']}, last heard of {_ago(batch['beat_at'], facts.now)}."
            yield _progress(facts)
            yield from _hindrances(facts, {it["name"] for it in facts.upstreams})
        case BatchState.PAUSED:
            yield f"{name} is paused: `muster resume {batch['id']}` lets it go on."
        case BatchState.FAILED:
            yield f"{name} was stopped before its end: {batch['reason']}."
            stay = "stays" if batch["remaining"] == 1 else "stay"
            yield f"{counted(batch['remaining'], 'item')} {stay} open; `muster resume {batch['id']}` goes on with them."
        case state:
            yield f"{name} is {state} since {_clock(batch['closed_at'])}: {outcome_of(batch)}."


def _queued(facts: Facts) -> str:
    if facts.batch["held"]:
        return f"It is held until somebody starts it: POST /batches/{facts.batch['id']}/start of `muster serve`."
    if facts.blocker is not None:
        other = facts.blocker
        return f"It waits for batch {other['id']} of the same client and workload, which is {_words(other['state'])}."
    if not facts.drivers:
        return "No driver is running: `muster reconcile` works it here, and `muster reconcile --every 5` from now on."
    if facts.ahead:
        before = counted(facts.ahead, "client")
        return f"{counted(facts.drivers, 'driver')} at work; {before} with higher priority or served less come first."
    return f"It is next: one of {counted(facts.drivers, 'driver')} takes it as soon as it has room."


def _progress(facts: Facts) -> str:
    counts, batch = facts.counts, facts.batch
    said = f"{batch['total'] - batch['remaining']} of {counted(batch['total'], 'item')} are closed"
    parts = [
        (counts.get(ItemState.RUNNING, 0), "in flight"),
        (counts.get(ItemState.PENDING, 0), "still to begin"),
        (counts.get(ItemState.WAITING, 0), "waiting for the next try"),
    ]
    said += "".join(f", {n} {what}" for n, what in parts if n)
    return said + (f", the first at {_clock(facts.next_due)}." if facts.next_due else ".")


def _hindrances(facts: Facts, upstreams: set[str]) -> Iterator[str]:
    batch = facts.batch
    if batch["target"] is not None and batch["gained"] + batch["reserved"] >= batch["target"]:
        left = batch["target"] - batch["gained"]
        gained = f"{batch['workload']} that are missing to the target of {batch['target']}"
        yield f"All {left} {gained} are reserved by calls in flight."
    for upstream in facts.upstreams:
        if upstream["name"] in upstreams:
            yield _hindrance(upstream, facts)


def _hindrance(upstream: Row, facts: Facts) -> str:
    """What holds up the calls to one upstream."""
    name, mine = upstream["name"], f"{upstream['mine']} of them this batch's"
    if why := facts.batch["stopped"].get(name):
        way = f"When it is mended: muster resume {facts.batch['id']}"
        return f"{name} is called no more in this batch: {why.rstrip('.')}. {way}"
    if held := _held(upstream, facts.now):
        return f"{name} {held}"
    limit, pace = upstream["bears"], upstream["pace"]
    if limit is not None and upstream["in_flight"] >= limit:
        if limit != upstream["concurrency"]:
            throttled = _clock(upstream["throttled_at"])
            return f"{name} throttled at {throttled} and has the {limit} calls in flight that it seems to bear, {mine}."
        gone = f" But {it}." if (it := _gone(upstream)) else ""
        return f"{name} has all of its {limit} calls in flight, {mine}: its fair share now.{gone}"
    if pace is not None and pace.start > facts.now:
        return f"{name} {_slowed(upstream, pace)}; the next free send slot is at {_clock(pace.start)}."
    return f"Nothing holds {name} up: {counted(upstream['in_flight'], 'call')} in flight, {mine}."


def _slowed(upstream: Row, pace: Any) -> str:
    """Which of its rates has an upstream's calls wait."""
    if upstream["tokens_at"] is not None and upstream["tokens_at"] >= pace.start and pace.tokens_per_minute is not None:
        return f"has used up its {pace.tokens_per_minute:g} tokens a minute"
    if pace.per_minute is not None and pace.per_minute != upstream["per_minute"]:
        return f"says that little is left, and is called {pace.per_minute:g} times a minute"
    return f"is called {pace.per_minute or 60 / pace.every_s:g} times a minute"


def _held(upstream: Row, now: datetime) -> str | None:
    """Why nobody calls the upstream now."""
    error = upstream["error"]
    match upstream["breaker"]:
        case BreakerState.OPEN:
            since, until = _clock(upstream["since"]), f"until a probe at {_clock(upstream['open_until'])}"
            if upstream["open_until"] is None or upstream["open_until"] <= now:
                until = "until the next lane with a call to make probes it"
            return f"failed so often in a row that nobody calls it since {since}, {until}: {error}"
        case BreakerState.HALF_OPEN:
            return f"failed often in a row; one lane is probing it, and everybody else waits: {error}"
    if upstream["held_until"] is not None and upstream["held_until"] > now:
        return f"asked to wait: no call before {_clock(upstream['held_until'])}."
    return None


def _item(item: Row, before: int, facts: Facts) -> Iterator[str]:
    name, state = f"Item {item['key']} of batch {item['batch_id']}", ItemState(item["state"])
    tries = f"{item['tries']} of {facts.batch['limits'].get('tries', '?')} tries used"
    if state in CLOSED_ITEMS:
        why = f" as {item['error_kind']}" if item["error_kind"] else ""
        starts = counted(item["starts"], "start")
        yield f"{name} {_ended(state)}{why} at {_clock(item['closed_at'])}, after {starts}, {tries}."
        if item["error"]:
            yield item["error"]
        return
    if state is ItemState.RUNNING:
        yield f"{name} is in flight since {_clock(item['started_at'])}, in lane {item['lane']}, {tries}."
        return
    if state is ItemState.WAITING and item["due_at"] > facts.now:
        yield f"{name} is tried again at {_clock(item['due_at'])}, {tries}; the last time: {item['error']}"
    else:
        yield f"{name} waits for its turn: {counted(before, 'item')} of the batch come before it, {tries}."
    if facts.batch["state"] != BatchState.IN_PROGRESS:
        yield from _batch(facts)
    elif state in READY_ITEMS:
        yield from _hindrances(facts, {item["upstream"]})


def _ended(state: ItemState) -> str:
    return {"cancelled": "was cancelled", "skipped": "was skipped"}.get(state, str(state))


def _words(state: str) -> str:
    return state.replace("_", " ")


def _clock(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else f"{moment:%H:%M:%S} UTC"


def _ago(moment: datetime | None, now: datetime) -> str:
    return "never" if moment is None else f"{max(0.0, (now - moment).total_seconds()):.0f} s ago"
