"""The picture of a run at one moment, in lines: each batch, its driver, what holds it up, sums, rate; pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from muster.report import counted
from muster.selection import Decision
from muster.states import OPEN_BATCHES, BatchState, RunState

WIDTH: Final = 100
WINDOW_S: Final = 60.0  # over which the rate is taken
ICONS: Final[Mapping[str, str]] = {
    BatchState.DONE: "✅",
    BatchState.FAILED: "❌",
    BatchState.IN_PROGRESS: "🔄",
    BatchState.QUEUED: "⏳",
    BatchState.PAUSED: "⏸",
    BatchState.CANCELLED: "🚫",
}
RULE: Final = "─" * WIDTH

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found."""

    run: Row
    names: Mapping[str, str]  # of clients, by id
    decisions: Sequence[Decision]
    batches: Sequence[Row]
    troubles: Sequence[str]
    now: datetime

    @property
    def remaining(self) -> int:
        """Items that are open."""
        return sum(it["remaining"] for it in self.batches)

    @property
    def at_work(self) -> int:
        """Items that are open in batches that go on by themselves."""
        return sum(it["remaining"] for it in self.batches if it["state"] in OPEN_BATCHES)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.run["state"] != RunState.RUNNING and not any(it["state"] in OPEN_BATCHES for it in self.batches)


@dataclass
class Pace:
    """How fast items are processed, over the last minute of looks."""

    looks: list[tuple[datetime, int]] = field(default_factory=list)

    def see(self, seen: Seen) -> float | None:
        """Items a second; None before two looks."""
        closed = sum(it["total"] - it["remaining"] for it in seen.batches)
        self.looks = [it for it in self.looks if seen.now - it[0] <= timedelta(seconds=WINDOW_S)]
        self.looks.append((seen.now, closed))
        since, first = self.looks[0]
        took = (seen.now - since).total_seconds()
        return (closed - first) / took if took > 0 else None


def picture(seen: Seen, iteration: int, elapsed_s: float, rate: float | None) -> list[str]:
    """All lines of one look."""
    return [
        f"⏱  Iteration {iteration} (elapsed: {elapsed_s:.0f}s)",
        RULE,
        *_batches(seen),
        *(f"  ⚠ {line}" for line in seen.troubles),
        RULE,
        *_sums(seen, rate),
    ]


def verdict(seen: Seen, late: str | None) -> list[str]:
    """How it ended, for all and for each client; `late` says why it was looked at no longer."""
    cancelled = _sum(seen.batches, "cancelled")
    said = "✅ SUCCESS: every item of every client was processed"
    if cancelled:
        said = f"🚫 CANCELLED: {counted(cancelled, 'item')} will not be processed, all others were"
    if seen.remaining or late:
        said = f"❌ FAILURE: {late or 'some items remain open'}"
    elif not seen.batches:
        said = "✅ SUCCESS: there was nothing to do"
    return [said, *(line for decision in seen.decisions for line in _client(decision, seen)), *seen.troubles]


def succeeded(seen: Seen) -> bool:
    """Whether nothing remains; failed items are processed too."""
    return seen.remaining == 0


def _batches(seen: Seen) -> Iterator[str]:
    for it in seen.batches:
        name = f"{seen.names.get(it['client_id'], it['client_id'])} · {it['workload']}"
        done = it["succeeded"] + it["skipped"]
        yield (
            f"  {ICONS[it['state']]} {name:<36} | {_words(it['state']):<11} | {_percent(it):>3}%"
            f" | {done}/{it['total']} completed, {it['failed']} failed, {it['remaining']} remaining"
        )
        if it["state"] == BatchState.IN_PROGRESS and it["beat_at"] is not None:
            silent = max(0.0, (seen.now - it["beat_at"]).total_seconds())
            yield f"     🔄 Driver active: {counted(it['driver_runs'], 'run')}, last beat {silent:.0f}s ago"
    for out in seen.decisions:
        if not out.included:
            yield f"  – {seen.names.get(out.client_id, out.client_id):<36} | left out    | {out.reason}"


def _sums(seen: Seen, rate: float | None) -> Iterator[str]:
    states = [it["state"] for it in seen.batches]
    working = sum(it in OPEN_BATCHES for it in states)
    failed = states.count(BatchState.FAILED)
    yield f"  Summary: {states.count(BatchState.DONE)} done, {working} in progress or queued, {failed} failed"
    total, closed = _sum(seen.batches, "total"), _sum(seen.batches, "total") - seen.remaining
    completed = _sum(seen.batches, "succeeded") + _sum(seen.batches, "skipped")
    said = f"  Overall: {closed}/{total} items ({completed} completed, {_sum(seen.batches, 'failed')} failed)"
    yield said + ("" if rate is None else f", {rate:.1f} items/s") + _eta(seen.at_work, rate)


def _eta(remaining: int, rate: float | None) -> str:
    if not remaining or not rate:
        return ""
    return f", about {timedelta(seconds=round(remaining / rate))} left"


def _client(decision: Decision, seen: Seen) -> Iterator[str]:
    batches = [it for it in seen.batches if it["client_id"] == decision.client_id]
    name = seen.names.get(decision.client_id, decision.client_id)
    if not batches:
        yield f"– {name}: {decision.reason or 'nothing to do'}"
        return
    remaining, total, failed = (_sum(batches, it) for it in ("remaining", "total", "failed"))
    yield f"{'❌' if remaining else '✅'} {name}"
    yield f"   Status: {', '.join(dict.fromkeys(_words(it['state']) for it in batches))}"
    yield f"   Progress: {total - remaining}/{total} ({_share(total - remaining, total)}%)"
    yield f"   Completed: {_sum(batches, 'succeeded') + _sum(batches, 'skipped')}"
    yield f"   Failed: {failed}"
    if cancelled := _sum(batches, "cancelled"):
        yield f"   Cancelled: {cancelled}"
    yield f"   Remaining: {remaining}"
    for it in batches:
        if it["remaining"]:
            why = f": {it['reason']}" if it["reason"] else ""
            way = f" To go on: muster resume {it['id']}" if it["state"] == BatchState.FAILED else ""
            yield f"   ❌ INCOMPLETE: {counted(it['remaining'], 'item')} of batch {it['id']} not processed{why}{way}"
    if decision.reason:
        yield f"   Left out: {decision.reason}"


def _sum(batches: Iterable[Row], name: str) -> int:
    return int(sum(it[name] for it in batches))


def _percent(batch: Row) -> int:
    return _share(batch["total"] - batch["remaining"], batch["total"])


def _share(part: int, whole: int) -> int:
    """Per cent, 100 only if nothing is missing."""
    return 100 if part == whole else min(99, 100 * part // whole)


def _words(state: str) -> str:
    return state.replace("_", " ")
