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
            yield f"{counted(batch['remaining'], 'item')} stay open; `muster resume {batch['id']}` goes on with them."
        case state:
            yield f"{name} is {state} since {_clock(batch['closed_at'])}: {outcome_of(batch)}."


def _queued(facts: Facts) -> str:
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
        yield f"All {left} posts that are missing to the target of {batch['target']} are reserved by calls in flight."
    for upstream in facts.upstreams:
        if upstream["name"] in upstreams:
            yield _hindrance(upstream, facts)


def _hindrance(upstream: Row, facts: Facts) -> str:
    """What holds up the calls to one upstream."""
    name, mine = upstream["name"], f"{upstream['mine']} of them this batch's"
    if why := facts.batch["stopped"].get(name):
        return f"{name} is called no more in this batch: {why} When it is mended: muster resume {facts.batch['id']}"
    if held := _held(upstream, facts.now):
        return f"{name} {held}"
    limit = upstream["concurrency"]
    if limit is not None and upstream["in_flight"] >= limit:
        return f"{name} has all of its {limit} calls in flight, {mine}: its fair share now."
    if upstream["next_at"] is not None and upstream["next_at"] > facts.now and upstream["per_minute"] is not None:
        slot = _clock(upstream["next_at"])
        return f"{name} is called {upstream['per_minute']:g} times a minute; the next free send slot is at {slot}."
    return f"Nothing holds {name} up: {upstream['in_flight']} calls in flight, {mine}."


def _held(upstream: Row, now: datetime) -> str | None:
    """Why nobody calls the upstream now."""
    error = upstream["error"]
    match upstream["breaker"]:
        case BreakerState.OPEN:
            since, until = _clock(upstream["since"]), _clock(upstream["open_until"])
            return f"failed so often in a row that nobody calls it since {since}, until a probe at {until}: {error}"
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
