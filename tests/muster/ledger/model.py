"""A plain Python model of one batch: what the ledger has to agree with, rule by rule."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from muster.ledger.beats import STALE_AFTER
from muster.ledger.returns import POISON_UNSEEN
from muster.ledger.tables import SUSPECT_FROM
from muster.states import OPEN_ITEMS, READY_ITEMS, WORKING_BATCHES, BatchState, ItemState

DEADLINE = timedelta(hours=12)


@dataclass
class Item:
    seq: int
    due: datetime
    state: ItemState = ItemState.PENDING
    crashes: int = 0
    starts: int = 0
    tries: int = 0
    lane: str | None = None

    @property
    def is_suspect(self) -> bool:
        return self.crashes >= SUSPECT_FROM


@dataclass
class LaneModel:
    epoch: int
    alone: bool
    beat: datetime


@dataclass
class Model:
    """One batch, its items in the order of their planning, its lanes by name."""

    now: datetime
    items: list[Item]
    deadline: datetime
    state: BatchState = BatchState.QUEUED
    epoch: int = 0
    beat: datetime | None = None
    lanes: dict[str, LaneModel] = field(default_factory=dict)

    def is_alive(self, beat: datetime | None, within: timedelta = STALE_AFTER) -> bool:
        return beat is not None and self.now - beat < within

    def is_free(self) -> bool:
        at_work = self.state is BatchState.IN_PROGRESS and not self.is_alive(self.beat)
        return self.state is BatchState.QUEUED or at_work

    @property
    def is_late(self) -> bool:
        return self.now >= self.deadline

    @property
    def is_busy(self) -> bool:
        """Whether living lanes have items in flight."""
        alive = {name for name, lane in self.lanes.items() if self.is_alive(lane.beat)}
        return bool(self._held(list(alive)))

    def fail_late(self) -> None:
        if self.state is BatchState.IN_PROGRESS:
            self.crash(list(self.lanes))
            self.epoch += 1
        self.move(BatchState.FAILED)

    def take(self) -> None:
        self.crash(list(self.lanes))
        self.epoch += 1
        self.state, self.beat = BatchState.IN_PROGRESS, self.now
        self.end_if_over()

    def due(self, *, alone: bool) -> list[Item]:
        """What may be claimed now, in order."""
        ready = [it for it in self.items if it.state in READY_ITEMS and it.is_suspect is alone]
        due = [it for it in ready if it.state is ItemState.PENDING or it.due <= self.now]
        return sorted(due, key=lambda it: (it.due, it.seq))

    def beat_driver(self) -> None:
        if self.state not in WORKING_BATCHES:
            return
        before, self.beat = self.beat, self.now
        if self.is_late:
            self.move(BatchState.FAILED)
        elif self.is_alive(before, STALE_AFTER / 2):
            self.crash(self.silent())
            self.end_if_over()

    def silent(self) -> list[str]:
        return [name for name, lane in self.lanes.items() if not self.is_alive(lane.beat)]

    def crash(self, lanes: list[str], *, seen: bool = False) -> None:
        """Lanes ended with items in flight."""
        for it in self._held(lanes):
            lane = self.lanes.get(it.lane or "")
            alone = lane is not None and lane.alone and it.is_suspect
            is_poison = alone and (seen or it.crashes >= POISON_UNSEEN - 1)
            it.state = ItemState.FAILED if is_poison else ItemState.PENDING
            it.crashes += not is_poison
            it.lane = None
        self._drop(lanes)

    def end_cleanly(self, lanes: list[str]) -> None:
        for it in self._held(lanes):
            it.state, it.lane = ItemState.PENDING, None
        self._drop(lanes)

    def end_if_over(self) -> None:
        if self.state in {*WORKING_BATCHES, BatchState.FAILED} and not self.remaining:
            self.move(BatchState.DONE)

    def move(self, to: BatchState) -> None:
        self.state = to
        if to not in WORKING_BATCHES:
            self.beat = None

    def queue_again(self) -> None:
        self.crash(list(self.lanes))
        self.epoch += 1
        self.begin_anew()
        self.move(BatchState.QUEUED)

    def begin_anew(self) -> None:
        self.deadline = self.now + DEADLINE

    def cancel(self) -> None:
        for it in self.items:
            if it.state in OPEN_ITEMS:
                it.state, it.lane = ItemState.CANCELLED, None
        self.lanes.clear()
        self.epoch += 1
        self.move(BatchState.CANCELLED)

    @property
    def failed(self) -> list[Item]:
        return [it for it in self.items if it.state is ItemState.FAILED]

    @property
    def remaining(self) -> int:
        return sum(it.state in OPEN_ITEMS for it in self.items)

    def _held(self, lanes: list[str]) -> list[Item]:
        return [it for it in self.items if it.state is ItemState.RUNNING and it.lane in lanes]

    def _drop(self, lanes: list[str]) -> None:
        for name in lanes:
            self.lanes.pop(name, None)
