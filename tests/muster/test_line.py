"""Attempts that wait for a place at a second upstream."""

import asyncio

import pytest

from muster import line as module
from muster.allotment import Allotment, Grant, TooLate, boot_time
from muster.line import Line


def an_allotment(allotted: int | None) -> Allotment:
    allotment = Allotment(8, 10.0)
    allow(allotment, allotted)
    return allotment


def allow(allotment: Allotment, allotted: int | None) -> None:
    allotment.take(Grant(allotted=allotted), boot_time(), boot_time())


async def test_places_go_to_who_came_first_and_the_ledger_hears_of_who_waits():
    heard: list[int] = []
    allotment = an_allotment(1)
    line = Line({"web": allotment}, lambda: heard.append(1))
    order: list[int] = []

    async def go(number: int) -> None:
        await line.wait("web")
        order.append(number)

    tasks = [asyncio.create_task(go(number)) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (order, line.waiting["web"], len(heard), allotment.held) == ([0], 2, 2, 1)

    for _ in range(2):
        allotment.end(None, None)
        line.admit(boot_time())
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    assert order == [0, 1, 2]
    assert (line.waiting.total(), allotment.held) == (0, 1)


async def test_who_is_cancelled_holds_nothing():
    allotment = an_allotment(0)
    line = Line({"web": allotment}, lambda: None)
    waits, begun = (asyncio.create_task(line.wait("web")) for _ in range(2))
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    allow(allotment, 1)
    line.admit(boot_time())
    begun.cancel()  # it had its place, and never learnt of it

    await asyncio.gather(begun, return_exceptions=True)

    assert (line.waiting.total(), allotment.held) == (0, 0)


async def test_a_lane_that_ends_turns_away_who_cannot_begin_soon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LAST_WAIT_S", 0.01)
    line = Line({"web": an_allotment(0)}, lambda: None)
    before = asyncio.create_task(line.wait("web"))
    await asyncio.sleep(0)
    line.close()
    after = asyncio.create_task(line.wait("web"))

    assert [type(it) for it in await asyncio.gather(before, after, return_exceptions=True)] == [TooLate, TooLate]
