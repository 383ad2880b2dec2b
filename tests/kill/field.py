"""A ledger, a simulator with latency, and clients whose nights are worked by processes that are killed."""

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select

from muster.errors import MusterError
from muster.ledger import Book
from muster.ledger.database import Row, Tx
from muster.ledger.domain import POST, PROFILE
from muster.ledger.live import LANE
from muster.ledger.tables import ATTEMPT, BATCH, ITEM
from muster.limits import Mode
from muster.outcomes import ErrorKind
from muster.planning import Wanted, open_run
from muster.settings import Settings
from muster.states import OPEN_BATCHES, BatchState, ItemState
from muster.wiring import open_book
from tests.flows.simulated import Simulator, a_client, handles, simulator
from tests.invariants import check_ledger
from tests.kill.victims import Victim

STALE_S: Final = 2.0
UPSTREAMS: Final = {"profiles": "openai", "posts": "apify"}
POSTS: Final = 2  # that each profile has to give


@dataclass
class Field:
    """Where the killing is done; every wave is one more run, with clients of its own."""

    book: Book
    settings: Settings
    simulator: Simulator
    environ: dict[str, str]
    folder: Path
    victims: list[Victim] = field(default_factory=list)
    _waves: "itertools.count[int]" = field(default_factory=itertools.count)

    def drive(self, *, clock: Path | None = None, **environ: str) -> Victim:
        """One more driver."""
        victim = Victim({**self.environ, **environ}, clock)
        self.victims.append(victim)
        return victim

    def kill(self, victim: Victim) -> None:
        self.victims.remove(victim)
        victim.kill()

    async def freeze(self, pid: int) -> None:
        """Freeze a process between two transactions: in the middle of one it would keep SQLite's one lock."""
        while True:
            os.kill(pid, signal.SIGSTOP)
            write = asyncio.create_task(self.book.put_setting("can", "write"))
            done, _ = await asyncio.wait({write}, timeout=1)
            if done:
                return
            os.kill(pid, signal.SIGCONT)
            await write

    async def plant(
        self,
        clients: int,
        profiles: int,
        workloads: Sequence[str] = ("profiles", "posts"),
        clients_too: tuple[str, ...] = (),
    ) -> int:
        """Open one more run over new clients, and some that are there; its number."""
        wave = next(self._waves)
        names = tuple(f"w{wave}c{number}" for number in range(clients))
        for name in names:
            await a_client(
                self.book, name, handles(profiles), posts_target=10**6, batch_size=50, max_batches=10**4,
                max_posts_per_profile=POSTS, profiles_limit=10**6,
            )  # fmt: skip
        wanted = Wanted(f"wave-{wave}", "test", Mode.NORMAL, tuple(workloads), names + clients_too)
        return await open_run(self.book, self.settings, wanted)

    async def batches(self) -> Sequence[Row]:
        return await self.book.database.read(lambda tx: tx.rows(select(BATCH).order_by(BATCH.c.id)))

    async def open_batches(self) -> int:
        return sum(it["state"] in OPEN_BATCHES for it in await self.batches())

    async def resume_failed(self) -> int:
        """Do what a person would with batches that driver after driver could not move; how many there were."""
        failed = [it["id"] for it in await self.batches() if it["state"] == BatchState.FAILED]
        for batch_id in failed:
            await self.book.orders.resume(batch_id)
        return len(failed)

    async def is_over(self, seconds: float = 60) -> None:
        """Wait until every batch is closed, and the lanes that dead drivers left behind are cleared away."""
        await self.until(self._is_quiet, seconds)

    async def _is_quiet(self) -> bool:
        lanes = await self.book.database.read(lambda tx: tx.value(select(func.count()).select_from(LANE)))
        return await self.open_batches() == 0 and lanes == 0

    async def until(self, look: Any, seconds: float = 30) -> None:
        """Wait until `look` is so."""
        end = time.monotonic() + seconds
        while not await look():
            assert time.monotonic() < end, [
                {name: it[name] for name in ("id", "state", "epoch", "driver", "beat_at", "fruitless", "reason")}
                for it in await self.batches()
                if it["state"] != BatchState.DONE
            ]
            await asyncio.sleep(0.05)

    async def lane_processes(self) -> list[int]:
        """The lanes that are processes of their own and work more than one suspect."""
        drivers = [it.pid for it in self.victims]
        there = select(LANE.c.pid).where(LANE.c.pid.not_in(drivers), ~LANE.c.alone)
        rows = await self.book.database.read(lambda tx: tx.rows(there))
        return [row["pid"] for row in rows if is_lane(row["pid"])]

    async def running(self) -> int:
        """How many items are in flight, as the ledger sees it."""
        counted = select(func.count()).select_from(ITEM).where(ITEM.c.state == ItemState.RUNNING)
        return int(await self.book.database.read(lambda tx: tx.value(counted)))

    async def starts(self) -> int:
        """How often items were claimed, in all."""
        started = select(func.coalesce(func.sum(ITEM.c.starts), 0))
        return int(await self.book.database.read(lambda tx: tx.value(started)))

    async def repeated(self) -> int:
        """How many calls were made again; no item was called for oftener than it was in flight at a kill."""
        crashes = await self.book.database.read(_crashes)
        repeated = 0
        for workload, upstream in UPSTREAMS.items():
            for identity, calls in self.simulator.calls(upstream).items():
                lost = crashes[workload, identity.rpartition("/")[2]]
                assert calls <= 1 + lost, (
                    f"{identity} was called for {calls} times, and {lost} times in flight at a kill"
                )
                repeated += calls - 1
        return repeated

    async def check(self) -> None:
        """Nothing is lost, nothing is counted twice, nothing is left behind."""
        await check_ledger(self.book)
        await self.book.database.read(_check_rows)
        for batch in await self.batches():
            assert batch["state"] == BatchState.DONE, dict(batch)
            failed = [it async for it in self.book.readings.items(batch["id"]) if it["state"] == ItemState.FAILED]
            assert not failed, failed
            assert batch["total"] == batch["succeeded"] + batch["skipped"], dict(batch)  # skipped: had no posts


def is_lane(pid: int) -> bool:
    with suppress(OSError):
        return b"muster.processes" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


async def _crashes(tx: Tx) -> Counter[tuple[str, str]]:
    """How often each profile was in flight when its lane or driver ended, by workload."""
    joined = (
        select(BATCH.c.workload, ITEM.c.payload)
        .select_from(ATTEMPT)
        .join(ITEM, ITEM.c.id == ATTEMPT.c.item_id)
        .join(BATCH, BATCH.c.id == ITEM.c.batch_id)
        .where(ATTEMPT.c.error_kind == ErrorKind.UNKNOWN_OUTCOME)
    )
    return Counter((row["workload"], row["payload"]["url"].rpartition("/")[2]) for row in await tx.rows(joined))


async def _check_rows(tx: Tx) -> None:
    assert await tx.value(select(func.count()).select_from(ITEM).where(ITEM.c.state == ItemState.RUNNING)) == 0
    assert await tx.value(select(func.count()).select_from(LANE)) == 0
    done = set((await _keys(tx, "profiles")).elements())
    scored = await tx.rows(select(PROFILE.c.id).where(PROFILE.c.score.is_not(None)))
    assert {row["id"] for row in scored} == done
    assert set((await _keys(tx, "posts")).values()) <= {1}
    gained = await tx.value(select(func.coalesce(func.sum(BATCH.c.gained), 0)))
    assert gained == await tx.value(select(func.count()).select_from(POST))


async def _keys(tx: Tx, workload: str) -> Counter[int]:
    """The profiles of a workload's succeeded items."""
    succeeded = (
        select(ITEM.c.payload)
        .join(BATCH, BATCH.c.id == ITEM.c.batch_id)
        .where(BATCH.c.workload == workload, ITEM.c.state == ItemState.SUCCEEDED)
    )
    return Counter(row["payload"]["profile_id"] for row in await tx.rows(succeeded))


@asynccontextmanager
async def a_field(
    database_url: str, folder: Path, *, latency_ms: float = 60, simulated: Sequence[str] = (), **environ: str
) -> AsyncIterator[Field]:
    """A field on an empty database; at the end every process of it is killed."""
    with simulator(latency_ms, *simulated) as sim:
        said = {
            "MUSTER_DATABASE_URL": database_url,
            "MUSTER_STALE_SECONDS": str(STALE_S),
            "MUSTER_IN_FLIGHT": "6",
            "MUSTER_CLIENTS_AT_ONCE": "2",
            "MUSTER_STOP_GRACE_SECONDS": "1",
            **sim.environ,
            **environ,
        }
        async with Book(database_url) as empty:
            await empty.upgrade()
        settings = _settings(said)
        async with open_book(settings) as book:
            for upstream in UPSTREAMS.values():  # calls of the killed would count until they have timed out
                await book.upstreams.set(upstream, {"concurrency": None})
            there = Field(book, settings, sim, said, folder)
            try:
                yield there
            finally:
                for victim in list(there.victims):
                    there.kill(victim)


def _settings(environ: dict[str, str]) -> Settings:
    """The settings that the victims read from their environment."""
    names = ("MUSTER_", "OPENAI_", "APIFY_", "STORIES_")
    known = {
        (name.removeprefix("MUSTER_").lower() if name.startswith("MUSTER_") else name): value
        for name, value in environ.items()
        if name.startswith(names)
    }
    settings = Settings.model_validate(known)
    if settings.database_url is None:
        raise MusterError("the field needs an address")
    return settings
