"""What the upstreams allow over all processes, and how they stand: limits are changed while batches run."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select, update

from muster.errors import NotFound
from muster.ledger.allotments import lock_upstream
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.journal import log
from muster.ledger.live import ALLOTMENT, UPSTREAM
from muster.ledger.tables import BATCH
from muster.shares import HORIZON_S
from muster.states import OPEN_BATCHES, BreakerState
from muster.upstreams.known import KNOWN

LIMITS: Final = ("concurrency", "per_minute", "tokens_per_minute")


class Upstreams:
    """The upstreams' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    async def all(self, tx: Tx) -> list[dict[str, Any]]:
        """Every upstream that is known or was called: its limits, its breaker, its calls in flight, lanes that wait."""
        rows = {row["name"]: dict(row) for row in await tx.rows(select(UPSTREAM).order_by(UPSTREAM.c.name))}
        using = {row["upstream"]: row for row in await tx.rows(_usage())}
        fresh = dict.fromkeys((it.name for it in UPSTREAM.c), None) | {"breaker": BreakerState.CLOSED, "failures": 0}
        never_called = {name: {**fresh, "name": name, **asdict(KNOWN[name])} for name in KNOWN if name not in rows}
        usage = {name: using.get(name, {"in_flight": 0, "lanes": 0, "in_line": 0}) for name in rows | never_called}
        return [{**row, **_counts(usage[name])} for name, row in sorted((rows | never_called).items())]

    @writes
    async def set(self, tx: Tx, name: str, limits: Mapping[str, float | None]) -> Row:
        """Change limits of an upstream, None to lift one; every open batch that calls it says so in its log.

        Raises:
            NotFound: nothing of that name is known or was called.
        """
        names = {*KNOWN, *(row["name"] for row in await tx.rows(select(UPSTREAM.c.name)))}
        if name not in names:
            raise NotFound(f"There is no upstream {name!r}; there are {', '.join(sorted(names))}.")
        before = await lock_upstream(tx, name)
        now = await tx.now()
        # What the upstream itself said before is forgotten; slots that lanes have are theirs, and the next come after.
        changed = {**_moved(before, limits, now), "ceiling": None, "held_until": None, "paced_until": None}
        await tx.run(update(UPSTREAM).where(UPSTREAM.c.name == name).values({**limits, **changed}))
        said = f"{name}: " + ", ".join(f"{_words(it)} {_old(before[it])} → {_old(limits[it])}" for it in limits)
        for batch in await tx.rows(select(BATCH.c.id, BATCH.c.upstreams).where(BATCH.c.state.in_(OPEN_BATCHES))):
            if name in batch["upstreams"]:
                await log(tx, batch["id"], now, "limits.changed", f"Limits of {said}.", data=dict(limits))
        return {**before, **limits}


def _moved(before: Row, limits: Mapping[str, float | None], now: datetime) -> dict[str, Any]:
    """The next send slots, where another rate had put them farther ahead than the new one would."""
    moved = {}
    for limit, at in (("per_minute", "next_at"), ("tokens_per_minute", "tokens_at")):
        if limit in limits and limits[limit] != before[limit] and before[at] is not None:
            moved[at] = min(before[at], now + timedelta(seconds=HORIZON_S))
    return moved


def _usage() -> Any:
    waits = ALLOTMENT.c.waiting_since.is_not(None)
    return select(
        ALLOTMENT.c.upstream,
        func.sum(ALLOTMENT.c.held).label("in_flight"),
        func.count().label("lanes"),
        func.count().filter(waits).label("in_line"),
    ).group_by(ALLOTMENT.c.upstream)


def _counts(row: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(row[name]) for name in ("in_flight", "lanes", "in_line")}


def _words(limit: str) -> str:
    return limit.replace("_", " ")


def _old(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"
