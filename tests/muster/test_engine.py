"""A lane works a batch to its end, whatever its attempts do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg
import pytest

from muster.attempts import Job
from muster.engine import Lane
from muster.errors import ConfigurationError, LeaseLost, Unreachable
from muster.landing import Claimed, Landing
from muster.ledger import Book
from muster.ledger.database import Tx
from muster.ledger.lease import Lease
from muster.limits import Limits, Terms
from muster.outcomes import ErrorKind, Failed, Outcome, Retry, Succeeded
from muster.settings import Settings
from muster.states import BatchState, ItemState
from muster.upstreams.answers import Unanswered
from muster.upstreams.caller import Caller
from muster.workload import Context
from tests.factories import a_batch, some_limits

Attempt = Callable[[Claimed, Context], Awaitable[Outcome]]


class Numbers:
    """A workload whose attempts are the test's own."""

    name = "numbers"
    needs = ()
    nothing = "no numbers"
    longest_s = 20.0

    def __init__(self, attempt: Attempt, poisoned: int | None = None) -> None:
        self._attempt, self._poisoned = attempt, poisoned
        self.in_flight = self.most_in_flight = 0
        self.calls: list[int] = []

    def terms(self, limits: Limits) -> Terms:
        return Terms()

    async def attempt(self, item: Claimed, ctx: Context) -> Outcome:
        self.calls.append(item.payload["number"])
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._attempt(item, ctx)
        finally:
            self.in_flight -= 1

    async def settle(self, tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
        if any(landing.rows and landing.item.payload["number"] == self._poisoned for landing in closed):
            raise KeyError("rows that cannot be written")
        return {}


async def fine(item: Claimed, ctx: Context) -> Outcome:
    return Succeeded(result={"ok": True}, rows=["row"])


def lane_of(book: Book, lease: Lease, workload: Numbers, stopping: Callable[[], bool] = lambda: False, **limits: Any):
    job = Job(lease, workload, some_limits(**limits), Terms(), ("web",))  # type: ignore[arg-type]
    return Lane(book, Caller(), Settings.read().model_copy(update={"stop_grace_seconds": 0.3}), job, stopping)


async def worked(book: Book, items: int, workload: Numbers, lanes: int = 1, **limits: Any) -> Mapping[str, Any]:
    lease = await book.batches.take(await a_batch(book, items, **limits), "me")
    async with asyncio.timeout(30):
        await asyncio.gather(*(lane_of(book, lease, workload, **limits).work() for _ in range(lanes)))
    return await book.readings.batch(lease.batch_id)


@pytest.mark.parametrize("items", [0, 1, 7, 1000])
async def test_a_batch_of_any_size_is_worked_to_its_end(small_book: Book, items: int):
    workload = Numbers(fine)

    batch = await worked(small_book, items, workload, in_flight=16)

    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, items)
    assert sorted(workload.calls) == list(range(items))


async def test_several_lanes_share_a_batch_and_call_for_nothing_twice(small_book: Book):
    workload = Numbers(fine)

    batch = await worked(small_book, 300, workload, lanes=3)

    assert batch["succeeded"] == 300
    assert sorted(workload.calls) == list(range(300))


async def test_a_lane_never_has_more_in_flight_than_it_may_and_uses_what_it_may(small_book: Book):
    async def slow(item: Claimed, ctx: Context) -> Outcome:
        await asyncio.sleep(0.01)
        return await fine(item, ctx)

    workload = Numbers(slow)
    await worked(small_book, 60, workload, in_flight=5)

    assert workload.most_in_flight == 5


async def test_one_at_a_time_keeps_the_order(small_book: Book):
    workload = Numbers(fine)

    await worked(small_book, 20, workload, in_flight=1)

    assert (workload.calls, workload.most_in_flight) == (list(range(20)), 1)


async def test_a_workloads_own_bug_is_a_failed_item_and_never_a_dead_batch(small_book: Book):
    async def sometimes(item: Claimed, ctx: Context) -> Outcome:
        if item.payload["number"] == 3:
            raise ZeroDivisionError("a bug")
        return await fine(item, ctx)

    batch = await worked(small_book, 6, Numbers(sometimes))

    (failed,) = await small_book.readings.failures(batch["id"])
    assert (batch["state"], batch["succeeded"], batch["failed"]) == (BatchState.DONE, 5, 1)
    assert (failed["error_kind"], failed["error"]) == ("bug", "ZeroDivisionError: a bug")


async def test_rows_that_cannot_be_written_fail_their_item_and_no_other(small_book: Book):
    batch = await worked(small_book, 6, Numbers(fine, poisoned=2))

    (failed,) = await small_book.readings.failures(batch["id"])
    assert (batch["succeeded"], failed["key"], failed["error_kind"]) == (5, "2", "bug")


async def test_an_unanswered_call_says_its_outcome(small_book: Book):
    async def rejected(item: Claimed, ctx: Context) -> Outcome:
        raise Unanswered(Failed(kind=ErrorKind.REJECTED, error="web answered 400: no", status_code=400))

    batch = await worked(small_book, 2, Numbers(rejected))

    assert batch["failed"] == 2


async def test_a_setting_that_is_wrong_stops_the_upstream_with_its_sentence(small_book: Book):
    async def misconfigured(item: Claimed, ctx: Context) -> Outcome:
        raise ConfigurationError("OPENAI_BASE_URL is not a plain http(s) URL.")

    batch = await worked(small_book, 50, Numbers(misconfigured))

    assert (batch["state"], batch["reason"]) == (BatchState.FAILED, "OPENAI_BASE_URL is not a plain http(s) URL.")
    assert batch["remaining"] == 50


async def test_a_denied_key_stops_the_calls_at_once(small_book: Book):
    async def denied(item: Claimed, ctx: Context) -> Outcome:
        return Retry(kind=ErrorKind.DENIED, error="web answered 401.")

    workload = Numbers(denied)
    batch = await worked(small_book, 1000, workload, lanes=2, in_flight=4)

    assert batch["state"] == BatchState.FAILED
    assert len(workload.calls) <= 8
    assert batch["remaining"] == 1000


async def test_a_throttled_upstream_is_left_alone_for_as_long_as_it_says(small_book: Book):
    moments: list[float] = []

    async def throttled_once(item: Claimed, ctx: Context) -> Outcome:
        moments.append(asyncio.get_running_loop().time())
        if len(moments) == 1:
            return Retry(kind=ErrorKind.THROTTLED, error="slow down", wait=0.6)
        return await fine(item, ctx)

    batch = await worked(small_book, 4, Numbers(throttled_once), in_flight=1)

    assert batch["succeeded"] == 4
    assert moments[1] - moments[0] >= 0.6
    assert [it["error_kind"] for it in await small_book.readings.attempts(batch["id"])] == ["throttled"]


async def test_a_stop_lets_calls_finish_for_a_moment_and_gives_the_rest_back(small_book: Book):
    stop = asyncio.Event()

    async def quick_or_endless(item: Claimed, ctx: Context) -> Outcome:
        if item.payload["number"] % 2:
            await asyncio.sleep(60)
        await stop.wait()
        return await fine(item, ctx)

    lease = await small_book.batches.take(await a_batch(small_book, 10), "me")
    lane = lane_of(small_book, lease, Numbers(quick_or_endless), stop.is_set, in_flight=4)
    working = asyncio.create_task(lane.work())
    await asyncio.sleep(0.4)
    stop.set()
    async with asyncio.timeout(5):
        await working

    assert await small_book.readings.count_by_state(lease.batch_id) == {"succeeded": 2, "pending": 6, "waiting": 2}


async def test_a_lane_that_lost_its_lease_stops_and_writes_nothing(small_book: Book):
    async def slow(item: Claimed, ctx: Context) -> Outcome:
        await asyncio.sleep(0.2)
        return await fine(item, ctx)

    old = await small_book.batches.take(await a_batch(small_book, 5), "me")
    lane = lane_of(small_book, old, Numbers(slow), in_flight=5)
    working = asyncio.create_task(lane.work())
    await asyncio.sleep(0.1)
    await small_book.batches.release(old, "given up")
    await small_book.batches.take(old.batch_id, "another")

    with pytest.raises(LeaseLost):
        await working
    assert await small_book.readings.count_by_state(old.batch_id) == {"pending": 5}


async def test_a_paid_step_is_paid_once_over_two_attempts(small_book: Book):
    paid: list[str] = []

    async def two_steps(item: Claimed, ctx: Context) -> Outcome:
        async def pay() -> dict[str, str]:
            paid.append(item.key)
            return {"receipt": item.key}

        receipt = await ctx.step("pay", pay)
        if item.starts == 1:
            return Retry(kind=ErrorKind.THROTTLED, error="later", wait=0)
        return Succeeded(result=receipt)

    batch = await worked(small_book, 3, Numbers(two_steps))

    assert sorted(paid) == ["0", "1", "2"]
    assert {item["state"] async for item in small_book.readings.items(batch["id"])} == {ItemState.SUCCEEDED}


async def test_a_ledger_that_is_gone_ends_the_lane_and_fails_no_item(small_book: Book):
    async def gone() -> Any:
        raise Unreachable("The ledger could not be used for 150 s.")

    async def call_with_a_step(item: Claimed, ctx: Context) -> Outcome:
        return Succeeded(result=await ctx.step("paid", gone))

    lease = await small_book.batches.take(await a_batch(small_book, 3), "me")

    with pytest.raises(Unreachable):
        await lane_of(small_book, lease, Numbers(call_with_a_step)).work()

    batch = await small_book.readings.batch(lease.batch_id)
    assert (batch["state"], batch["remaining"], batch["failed"]) == (BatchState.IN_PROGRESS, 3, 0)


async def test_a_server_that_restarts_while_rows_are_written_is_no_bug_of_the_workload(small_book: Book):
    class Restarting(Numbers):
        restarts = 2

        async def settle(self, tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
            if self.restarts:
                self.restarts -= 1
                raise asyncpg.CannotConnectNowError("the database system is starting up")
            return {}

    batch = await worked(small_book, 20, Restarting(fine))

    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 20)


async def test_after_a_pause_each_call_is_recorded_as_it_ends_and_not_with_the_last(small_book: Book):
    slow = asyncio.Event()

    async def one_is_slow(item: Claimed, ctx: Context) -> Outcome:
        await asyncio.sleep(0.3)
        if item.payload["number"] == 0:
            await slow.wait()
        return Succeeded()

    lease = await small_book.batches.take(await a_batch(small_book, 20), "me")
    working = asyncio.create_task(lane_of(small_book, lease, Numbers(one_is_slow), in_flight=4).work())
    await asyncio.sleep(0.15)
    await small_book.orders.pause(lease.batch_id)
    await asyncio.sleep(2)  # the beat brings the news

    counts = await small_book.readings.count_by_state(lease.batch_id)
    slow.set()
    await working

    assert counts["running"] == 1
    assert counts["succeeded"] >= 3


async def test_a_paid_sub_call_is_made_once_however_often_an_attempt_asks_for_it(small_book: Book):
    paid = 0

    async def pay() -> int:
        nonlocal paid
        paid += 1
        return paid

    async def ask_twice(item: Claimed, ctx: Context) -> Outcome:
        return Succeeded(result={"same": await ctx.step("run", pay) == await ctx.step("run", pay)})

    await worked(small_book, 1, Numbers(ask_twice))

    assert paid == 1


async def test_a_lane_that_can_claim_nothing_although_items_are_due_does_not_spin(
    small_book: Book, monkeypatch: pytest.MonkeyPatch
):
    claims = 0
    lease = await small_book.batches.take(await a_batch(small_book, 2, terms=Terms(target=2, per_item=2)), "me")
    await small_book.lanes.enter(lease, "other")
    (held,), _ = await small_book.lanes.claim(lease, "other", Terms(target=2, per_item=2), {"web": 1})
    assert held.reserved == 2
    original = small_book.lanes.claim

    async def counted(*words: Any, **named: Any) -> Any:
        nonlocal claims
        claims += 1
        return await original(*words, **named)

    monkeypatch.setattr(small_book.lanes, "claim", counted)
    job = Job(lease, Numbers(fine), some_limits(), Terms(target=2, per_item=2), ("web",))  # type: ignore[arg-type]
    stop = asyncio.Event()
    lane = Lane(small_book, Caller(), Settings.read(), job, stop.is_set)
    working = asyncio.create_task(lane.work())
    await asyncio.sleep(1.5)
    stop.set()
    await working

    assert claims < 12


async def test_an_upstream_that_is_down_for_a_while_fails_no_item(small_book: Book):
    well_at = asyncio.get_running_loop().time() + 3
    calls_while_down = 0

    async def down_at_first(item: Claimed, ctx: Context) -> Outcome:
        nonlocal calls_while_down
        if asyncio.get_running_loop().time() < well_at:
            calls_while_down += 1
            return Retry(kind=ErrorKind.TRANSIENT, error="502")
        return Succeeded()

    batch = await worked(small_book, 40, Numbers(down_at_first), tries=3)

    assert (batch["state"], batch["succeeded"]) == (BatchState.DONE, 40)
    assert calls_while_down < 20  # ten failures, and what was in flight with them
