"""Frozen drivers, orphaned lanes, drivers that race, items that kill: the lease and the fence hold."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from muster.outcomes import ErrorKind
from muster.reconcile import reconcile
from muster.states import ItemState
from tests.flows.simulated import a_client
from tests.kill.field import Field, a_field, is_lane
from tests.kill.victims import Victim

ROOT = Path(__file__).parents[2]
LANES_KILLED = 8
POISON = Path(__file__).parent / "poison"
PATIENT_S = "30"  # where nobody dies, so that a machine that stalls does not look like a death


async def begun(field: Field, least: int = 1) -> None:
    """Wait until calls are in flight and some are recorded."""

    async def so() -> bool:
        return await field.running() > 0 and sum(it["succeeded"] for it in await field.batches()) >= least

    await field.until(so)


async def epoch(field: Field) -> int:
    return max(int(it["epoch"]) for it in await field.batches())


async def test_a_driver_that_was_frozen_past_its_lease_wakes_up_and_writes_nothing(database_url: str, tmp_path: Path):
    async with a_field(database_url, tmp_path, latency_ms=300) as field:
        await field.plant(1, 80, ["profiles"])
        frozen = field.drive()
        await begun(field)
        await field.freeze(frozen.pid)
        before = await epoch(field)
        field.drive()
        await field.until(lambda: changed(field, before))
        await begun(field, least=20)

        frozen.send(signal.SIGCONT)
        await field.is_over()

        await field.check()
        assert await field.repeated() <= 2 * 6 * 5  # two lanes' calls, and what they had claimed ahead


async def changed(field: Field, before: int) -> bool:
    return await epoch(field) > before


async def test_lanes_whose_parent_is_killed_record_what_they_can_and_end(database_url: str, tmp_path: Path):
    async with a_field(database_url, tmp_path, latency_ms=200) as field:
        await field.plant(1, 60, ["profiles"])
        parent = field.drive(MUSTER_PROCESSES_FROM="1")
        await begun(field)
        lanes = await field.lane_processes()

        field.kill(parent)

        assert lanes
        await field.until(lambda: all_gone(lanes), 10)
        assert await field.running() == 0  # given back by the lanes themselves, before anybody noticed
        field.drive()
        await field.is_over()
        await field.check()


async def all_gone(pids: Sequence[int]) -> bool:
    return not any(is_lane(pid) for pid in pids)


async def test_lanes_that_are_killed_one_after_the_other_are_replaced_by_their_driver(
    database_url: str, tmp_path: Path
):
    async with a_field(database_url, tmp_path, latency_ms=150) as field:
        await field.plant(2, 150, ["profiles"])
        driver = field.drive(MUSTER_PROCESSES_FROM="1", MUSTER_LANES="2")
        killed = set[int]()
        while len(killed) < LANES_KILLED and await field.open_batches():
            for pid in (await field.lane_processes())[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            await asyncio.sleep(0.5)

        await field.is_over(90)

        assert len(killed) == LANES_KILLED
        await field.check()
        await field.repeated()
        assert driver.process.is_alive()


async def test_drivers_that_want_the_same_batch_never_call_for_an_item_twice(database_url: str, tmp_path: Path):
    async with a_field(database_url, tmp_path, MUSTER_STALE_SECONDS=PATIENT_S) as field:
        await field.plant(1, 100)
        for _ in range(3):
            field.drive()

        await field.is_over()

        await field.check()
        assert await field.repeated() == 0


async def test_reconciling_never_takes_a_batch_from_a_living_driver(database_url: str, tmp_path: Path):
    async with a_field(database_url, tmp_path, MUSTER_STALE_SECONDS=PATIENT_S) as field:
        await field.plant(2, 60, ["profiles"])
        field.drive()
        while await field.open_batches():
            await reconcile(field.book, field.settings)
            await asyncio.sleep(0.02)

        await field.is_over()

        await field.check()
        assert {it["driver_runs"] for it in await field.batches()} == {1}
        assert await field.repeated() == 0


async def test_an_item_that_kills_its_process_fails_as_poison_and_its_neighbours_do_not(
    database_url: str, tmp_path: Path
):
    async with a_field(database_url, tmp_path, PYTHONPATH=f"{POISON}{os.pathsep}{ROOT}") as field:
        for name in ("acme", "birch"):
            await a_client(field.book, name, ["one", "poison", *map(str, range(20))], profiles_limit=100)
        await field.plant(1, 1, ["profiles"], clients_too=("acme", "birch"))
        field.drive()
        while await field.open_batches():
            await asyncio.sleep(0.1)
            for victim in [it for it in field.victims if not it.process.is_alive()]:
                field.kill(victim)
                field.drive()

        await field.is_over()

        items = [it for batch in await field.batches() async for it in field.book.readings.items(batch["id"])]
        failed = {it["key"]: it["error_kind"] for it in items if it["state"] == ItemState.FAILED}
        assert [it["key"] for it in items if it["state"] == ItemState.FAILED] == ["linkedin/poison"] * 2
        assert set(failed.values()) == {ErrorKind.POISON}
        assert {it["state"] for it in items if "poison" not in it["key"]} == {ItemState.SUCCEEDED}


async def test_a_lane_that_hangs_is_replaced_and_keeps_no_driver_from_ending(database_url: str, tmp_path: Path):
    async with a_field(database_url, tmp_path, latency_ms=150, MUSTER_LANES="1") as field:
        await field.plant(1, 60, ["profiles"])
        driver = field.drive(MUSTER_PROCESSES_FROM="1")
        await begun(field)
        (lane,) = await field.lane_processes()
        await field.freeze(lane)

        await field.is_over(60)

        await field.check()
        assert not is_lane(lane)
        driver.send(signal.SIGTERM)
        await field.until(lambda: ended(driver), 15)


async def ended(victim: Victim) -> bool:
    return not victim.process.is_alive()
