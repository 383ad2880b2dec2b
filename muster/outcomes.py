"""What an attempt may say: one of four words, each frozen data; and the one vocabulary of causes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ErrorKind(StrEnum):
    """Why an attempt did not simply succeed, whatever the upstream calls it."""

    THROTTLED = "throttled"  # wait at least the hinted time; the whole upstream slows, no try is used
    TRANSIENT = "transient"  # back off, try again
    UNKNOWN_OUTCOME = "unknown_outcome"  # may have been carried out and billed
    DENIED = "denied"  # no item can succeed until the key is mended
    OUT_OF_MONEY = "out_of_money"  # no item can succeed until the account is topped up
    REJECTED = "rejected"  # this item will never be accepted
    REFUSED = "refused"  # the model declined: a result, marked
    CUT_OFF = "cut_off"  # the answer is not whole
    UNGROUNDED = "ungrounded"  # an answer of a model that was to search, and did not: a result, marked
    GONE = "gone"  # the thing itself no longer exists
    RESOURCE = "resource"  # a proxy or session is to blame: no try is used
    PARSE = "parse"  # an answer that cannot be read
    POISON = "poison"  # brought its lane down, alone
    BUG = "bug"  # our own fault: the traceback is in the log


FREE_OF_TRY = frozenset(
    {ErrorKind.THROTTLED, ErrorKind.DENIED, ErrorKind.OUT_OF_MONEY, ErrorKind.RESOURCE}
)  # the item is not to blame
STOPS_UPSTREAM = frozenset({ErrorKind.DENIED, ErrorKind.OUT_OF_MONEY})  # for this batch, at once


@dataclass(frozen=True, slots=True)
class Note:
    """One thing worth a line in the batch log; written by whoever settles the attempt."""

    kind: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)
    is_warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The item is done; `rows` are what the workload's `settle` writes to its own tables."""

    result: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Any] = ()
    cost_micros: int = 0
    tokens: int = 0  # of a language model, in and out
    mark: ErrorKind | None = None  # `refused`, `cut_off`, `ungrounded`: a result, but not a plain one
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """There was nothing to do, and `reason` says why."""

    reason: str
    kind: ErrorKind | None = None
    rows: Sequence[Any] = ()
    cost_micros: int = 0
    tokens: int = 0
    status_code: int | None = None
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """It may succeed later; `wait` is the upstream's own hint in seconds, a minimum.

    Where what it needs is `busy`, nothing was called, and its lane begins no other such item before the wait is over;
    where that is missing altogether, `pauses` says why nothing of the batch is begun until a person resumes it.
    """

    kind: ErrorKind
    error: str
    wait: float | None = None
    status_code: int | None = None
    cost_micros: int = 0
    tokens: int = 0
    resource: str | None = None
    busy: bool = False
    pauses: str | None = None
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It will never succeed as it is."""

    kind: ErrorKind
    error: str
    status_code: int | None = None
    cost_micros: int = 0
    tokens: int = 0
    log: str | None = None  # a bug's traceback, for the event log only
    notes: Sequence[Note] = ()


Outcome = Succeeded | Skipped | Retry | Failed
