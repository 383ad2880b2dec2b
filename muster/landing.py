"""Where an item lands after an attempt: outcome × tries → state; pure."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from muster.backoff import delay
from muster.outcomes import FREE_OF_TRY, STOPS_UPSTREAM, ErrorKind, Failed, Note, Outcome, Retry, Skipped, Succeeded
from muster.states import CLOSED_ITEMS, ItemState


@dataclass(frozen=True, slots=True)
class NewItem:
    """One unit of work as a workload plans it; `key` is unique in its batch."""

    key: str
    upstream: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claimed:
    """An item in the hands of one lane; `starts` is its fencing number, `reserved` its part of the allowance."""

    id: int
    key: str
    upstream: str
    payload: Mapping[str, Any]
    tries: int
    starts: int
    reserved: int
    due_at: datetime
    redrives: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What the ledger writes of one attempt."""

    item: Claimed
    state: ItemState
    tries: int
    wait: float | None = None  # seconds until it is due again; None keeps its place in the queue
    kind: ErrorKind | None = None
    error: str | None = None
    status_code: int | None = None
    ms: int = 0
    resource: str | None = None
    result: Mapping[str, Any] | None = None
    rows: Sequence[Any] = field(default=())
    cost_micros: int = 0
    log: str | None = None
    attempted: bool = True  # False: given back before any call
    pauses: str | None = None  # why nothing of the batch can be begun
    notes: Sequence[Note] = ()

    @property
    def closes(self) -> bool:
        """Whether the item has its one recorded end."""
        return self.state in CLOSED_ITEMS

    @property
    def stops_upstream(self) -> bool:
        """Whether no other item of this batch can succeed at this upstream either."""
        return self.kind in STOPS_UPSTREAM and self.state is ItemState.PENDING

    @property
    def is_trouble(self) -> bool:
        """Whether it belongs into the history of attempts that did not succeed."""
        return self.attempted and self.kind is not None and self.state is not ItemState.SUCCEEDED


def land(
    item: Claimed,
    outcome: Outcome,
    *,
    tries: int,
    ms: int = 0,
    blameless: bool = False,
    rng: random.Random | None = None,
) -> Landing:
    """Decide where the item goes after an attempt that took `ms`; `tries` is how many it has in all.

    Nothing that may pass uses up a try of an item that is `blameless`: its upstream fails everybody.
    """
    used = item.tries + 1
    match outcome:
        case Succeeded():
            return Landing(
                item=item, state=ItemState.SUCCEEDED, tries=used, kind=outcome.mark, ms=ms,
                result=outcome.result, rows=outcome.rows, cost_micros=outcome.cost_micros, notes=outcome.notes,
            )  # fmt: skip
        case Skipped():
            return Landing(
                item=item, state=ItemState.SKIPPED, tries=used, kind=outcome.kind, error=outcome.reason, ms=ms,
                status_code=outcome.status_code, rows=outcome.rows, cost_micros=outcome.cost_micros,
                notes=outcome.notes,
            )  # fmt: skip
        case Failed():
            return Landing(
                item=item, state=ItemState.FAILED, tries=used, kind=outcome.kind, error=outcome.error, ms=ms,
                status_code=outcome.status_code, cost_micros=outcome.cost_micros, log=outcome.log, notes=outcome.notes,
            )  # fmt: skip
        case Retry() if outcome.busy or outcome.pauses:
            return _not_begun(item, outcome)
        case Retry():
            return _come_back(item, outcome, tries=tries, ms=ms, blameless=blameless, rng=rng)


def give_back(item: Claimed, wait: float | None = None) -> Landing:
    """An item that was claimed and not called: as it was, due in `wait` seconds."""
    state = ItemState.PENDING if wait is None else ItemState.WAITING
    return Landing(item=item, state=state, tries=item.tries, wait=wait, attempted=False)


def _not_begun(item: Claimed, outcome: Retry) -> Landing:
    """It comes back as it was, with a word on what it waits for."""
    state = ItemState.WAITING if outcome.busy else ItemState.PENDING
    return Landing(
        item=item, state=state, tries=item.tries, wait=outcome.wait if outcome.busy else None, kind=outcome.kind,
        error=outcome.error, cost_micros=outcome.cost_micros, attempted=False, pauses=outcome.pauses,
        notes=outcome.notes,
    )  # fmt: skip


def _come_back(
    item: Claimed, outcome: Retry, *, tries: int, ms: int, blameless: bool, rng: random.Random | None
) -> Landing:
    is_free = blameless or outcome.kind in FREE_OF_TRY
    used = item.tries + (not is_free)
    if outcome.kind in STOPS_UPSTREAM:
        state, wait = ItemState.PENDING, None
    elif used >= tries and not is_free:
        state, wait = ItemState.FAILED, None
    else:
        state, wait = ItemState.WAITING, delay(max(used, item.starts), outcome.wait, rng=rng)
    return Landing(
        item=item, state=state, tries=used, wait=wait, kind=outcome.kind, error=outcome.error, ms=ms,
        status_code=outcome.status_code, resource=outcome.resource, cost_micros=outcome.cost_micros,
        notes=outcome.notes,
    )  # fmt: skip
