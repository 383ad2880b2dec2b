"""Actor runs: how one starts, passes its states, ends, and what it has cost by then."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from muster.simulator.behaviour import number
from muster.simulator.posts import Row

PRICE_OF_A_POST = 0.002
_READY_SHARE = 0.1  # of a run's time it waits for a machine
_EXIT_CODES = {"SUCCEEDED": 0, "FAILED": 1}
_MESSAGES = {
    "READY": "Waiting for a machine",
    "RUNNING": "Scraping profiles",
    "SUCCEEDED": "Finished",
    "FAILED": "The actor failed",
    "TIMED-OUT": "The run took longer than its timeout",
    "ABORTED": "Aborted by the user",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will come to: its end, its rows by then, and the seconds until then."""

    status: str
    rows: Sequence[Row]
    seconds: float


@dataclass(kw_only=True, eq=False)
class Run:
    """One run; `ended` is set as soon as its status will change no more."""

    id: str
    actor: str
    options: Mapping[str, Any]
    input: Mapping[str, Any]
    plan: Plan
    began: float
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    rows: Sequence[Row] = ()
    final: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, status: str, rows: Sequence[Row]) -> None:
        """Settle the run's status and what is in its dataset."""
        self.final, self.rows, self.finished_at = status, rows, datetime.now(UTC)
        self.ended.set()

    async def wait(self, seconds: float) -> None:
        """Hold on until the run has ended or the seconds are over."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.ended.wait()

    @property
    def dataset_id(self) -> str:
        """Where its rows are."""
        return f"ds{self.id}"

    @property
    def store_id(self) -> str:
        """Where its input is."""
        return f"kv{self.id}"

    def status(self) -> str:
        """The state at this moment."""
        if self.final is not None:
            return self.final
        passed = asyncio.get_running_loop().time() - self.began
        return "READY" if passed <= self.plan.seconds * _READY_SHARE else "RUNNING"

    def brief(self) -> dict[str, Any]:
        """The run as a list of runs shows it."""
        return {
            "id": self.id,
            "actId": act_id(self.actor),
            "status": self.status(),
            "startedAt": stamp(self.started_at),
            "finishedAt": stamp(self.finished_at),
            "defaultDatasetId": self.dataset_id,
            "defaultKeyValueStoreId": self.store_id,
            "usageTotalUsd": self._cost(),
        }

    def full(self) -> dict[str, Any]:
        """The run as it is shown alone."""
        event = {"eventTitle": "Post", "eventPriceUsd": PRICE_OF_A_POST}
        pricing = {"pricingModel": "PAY_PER_EVENT", "pricingPerEvent": {"actorChargeEvents": {"post": event}}}
        status = self.status()
        return {
            **self.brief(),
            "userId": "simUser0000000000",
            "statusMessage": _MESSAGES[status],
            "exitCode": _EXIT_CODES.get(status),
            "chargedEventCounts": {"post": self._posts()},
            "pricingInfo": pricing,
            "options": self.options,
        }

    def _posts(self) -> int:
        return sum(row["type"] == "post" for row in self.rows)

    def _cost(self) -> float:
        return round(self._posts() * PRICE_OF_A_POST, 6)


class Runs:
    """All runs of one application, the oldest first."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._runs: dict[str, Run] = {}
        self._started = Counter[tuple[str, str]]()

    def start(self, actor: str, identity: str, options: Mapping[str, Any], body: Mapping[str, Any], plan: Plan) -> Run:
        """Begin a run; its id depends on the seed and on how many the identity has had."""
        self._started[actor, identity] += 1
        run_id = f"{number(self._seed, 'run', actor, identity, self._started[actor, identity]):016x}"
        loop = asyncio.get_running_loop()
        run = Run(id=run_id, actor=actor, options=options, input=body, plan=plan, began=loop.time())
        self._runs[run_id] = run
        return run

    def get(self, run_id: str) -> Run | None:
        """The run of that id."""
        return self._runs.get(run_id)

    def of_actor(self, actor: str) -> list[Run]:
        """The runs of an actor, given by its name or its id."""
        return [run for run in self._runs.values() if actor in (run.actor, act_id(run.actor))]


def act_id(actor: str) -> str:
    """The id that belongs to an actor's name."""
    return f"act{number('actor', actor):014x}"[:17]


def stamp(when: datetime | None) -> str | None:
    """A time as Apify writes it."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z") if when else None
