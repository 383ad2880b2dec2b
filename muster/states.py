"""The life of items, batches, runs and clients: every state, every legal move, nothing else."""

from collections.abc import Mapping
from enum import StrEnum


class ItemState(StrEnum):
    """One unit of a batch, from its planning to its one recorded end."""

    PENDING = "pending"  # planned, or given back: waits for a lane
    RUNNING = "running"  # claimed by one lane; a call may be under way
    WAITING = "waiting"  # will be tried again at `due_at`
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"  # nothing to do, said so on purpose
    FAILED = "failed"  # out of tries, or refused for good
    CANCELLED = "cancelled"


class BatchState(StrEnum):
    """One client's work of one workload in one run."""

    QUEUED = "queued"  # planned; no driver works it
    IN_PROGRESS = "in_progress"  # a driver holds its lease
    PAUSED = "paused"  # a person asked it to wait
    DONE = "done"  # every item is closed, also when some failed
    FAILED = "failed"  # stopped before its end; its open items stay open
    CANCELLED = "cancelled"


class RunState(StrEnum):
    """One firing over some clients and workloads."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class BreakerState(StrEnum):
    """Whether an upstream is called."""

    CLOSED = "closed"  # as usual
    OPEN = "open"  # it failed too often in a row: items wait
    HALF_OPEN = "half_open"  # one lane probes it


class ClientState(StrEnum):
    """Whether a client's work is wanted."""

    ACTIVE = "active"
    PAUSED = "paused"
    INACTIVE = "inactive"


class ProfileState(StrEnum):
    """What the outside world says of a profile."""

    ACTIVE = "active"
    NO_POSTS = "no_posts"  # harvested, and truly had none
    GONE = "gone"  # the upstream says that it does not exist


class ProxyState(StrEnum):
    """Whether a proxy is used."""

    ACTIVE = "active"
    DISABLED = "disabled"  # failed too often in a row; it is looked at again, ever more rarely


class SessionState(StrEnum):
    """Whether a session is used."""

    ACTIVE = "active"
    DISABLED = "disabled"  # spent, until somebody brings a new one


class PromptState(StrEnum):
    """Whether a prompt is put to providers."""

    ACTIVE = "active"
    INACTIVE = "inactive"


_I, _B, _R = ItemState, BatchState, RunState

ITEM_MOVES: Mapping[ItemState, frozenset[ItemState]] = {
    _I.PENDING: frozenset({_I.RUNNING, _I.SKIPPED, _I.CANCELLED}),  # skipped: the target was reached
    _I.RUNNING: frozenset({_I.SUCCEEDED, _I.SKIPPED, _I.FAILED, _I.WAITING, _I.PENDING, _I.CANCELLED}),
    _I.WAITING: frozenset({_I.RUNNING, _I.SKIPPED, _I.CANCELLED}),
    _I.SUCCEEDED: frozenset(),
    _I.SKIPPED: frozenset(),
    _I.FAILED: frozenset({_I.PENDING}),  # redrive
    _I.CANCELLED: frozenset(),
}
BATCH_MOVES: Mapping[BatchState, frozenset[BatchState]] = {
    _B.QUEUED: frozenset({_B.IN_PROGRESS, _B.FAILED, _B.CANCELLED}),  # failed: past its deadline
    _B.IN_PROGRESS: frozenset({_B.DONE, _B.QUEUED, _B.PAUSED, _B.FAILED, _B.CANCELLED}),  # queued: released
    # in progress: resumed while its driver was still there; done: the last call in flight closed it
    _B.PAUSED: frozenset({_B.IN_PROGRESS, _B.QUEUED, _B.DONE, _B.FAILED, _B.CANCELLED}),
    _B.DONE: frozenset({_B.QUEUED}),  # redrive
    _B.FAILED: frozenset({_B.QUEUED, _B.DONE, _B.CANCELLED}),  # resume; done: its last calls in flight closed it
    _B.CANCELLED: frozenset(),
}
RUN_MOVES: Mapping[RunState, frozenset[RunState]] = {
    _R.RUNNING: frozenset({_R.DONE, _R.FAILED}),
    _R.DONE: frozenset({_R.RUNNING}),
    _R.FAILED: frozenset({_R.RUNNING}),
}

OPEN_ITEMS = frozenset({_I.PENDING, _I.RUNNING, _I.WAITING})
READY_ITEMS = frozenset({_I.PENDING, _I.WAITING})  # a lane may claim them once they are due
CLOSED_ITEMS = frozenset(ItemState) - OPEN_ITEMS
WORKING_BATCHES = frozenset({_B.IN_PROGRESS, _B.PAUSED})  # one per client and workload
CLOSED_BATCHES = frozenset({_B.DONE, _B.FAILED, _B.CANCELLED})
OPEN_BATCHES = frozenset(BatchState) - CLOSED_BATCHES


def may_move(here: StrEnum, there: StrEnum) -> bool:
    """Say whether the tables above allow the move; states of two kinds never mix."""
    match here, there:
        case (ItemState(), ItemState()):
            return there in ITEM_MOVES[here]
        case (BatchState(), BatchState()):
            return there in BATCH_MOVES[here]
        case (RunState(), RunState()):
            return there in RUN_MOVES[here]
    return False


def sources(there: ItemState | BatchState | RunState) -> frozenset[StrEnum]:
    """All states from which `there` can be reached in one move."""
    return frozenset(here for here in type(there) if may_move(here, there))
