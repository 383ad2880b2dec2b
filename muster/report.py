"""What the ledger's counts say, for people and for scripts: rows and markdown; pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from muster.selection import Decision
from muster.shares import jain

Row = Mapping[str, Any]

COUNTS: Final = ("total", "succeeded", "skipped", "failed", "cancelled", "remaining")
MOST_CAUSES: Final = 20

# As entities, since a backslash before an escaped sign would undo the escape.
_INERT: Final = str.maketrans({sign: f"&#{ord(sign)};" for sign in "&<>|`[]\\"})


def batch_line(batch: Row) -> dict[str, Any]:
    """A batch as scripts read it."""
    return {
        "id": batch["id"],
        "client": batch["client_id"],
        "workload": batch["workload"],
        "state": batch["state"],
        **{name: batch[name] for name in COUNTS},
        "gained": batch["gained"],
        "reason": batch["reason"],
    }


def stopped_line(batch: Row) -> str:
    """A batch that was stopped before its end, and the way on."""
    who = f"Batch {batch['id']} ({batch['client_id']} {batch['workload']})"
    reason = (batch["reason"] or "for no reason that was kept").rstrip(".")
    return (
        f"{who} failed with {counted(batch['remaining'], 'item')} open: {reason}. To go on: muster resume {batch['id']}"
    )


def run_line(run: Row, decisions: Iterable[Decision], batches: Sequence[Row]) -> dict[str, Any]:
    """A run as scripts read it: every client considered, every batch."""
    return {
        "run": run["key"],
        "mode": run["mode"],
        "state": run["state"],
        "clients": [{"id": it.client_id, "included": it.included, "reason": it.reason} for it in decisions],
        "batches": [batch_line(batch) for batch in batches],
        "fairness": fairness(batches),
    }


def fairness(batches: Iterable[Row]) -> dict[str, Any]:
    """Which part of its batches' life each client waited for a driver, 0 to 1, and how even that was over clients.

    `jain` is Jain's index of the parts in which they were served: 1 where all waited alike.
    """
    waited, took = Counter[str](), Counter[str]()
    for it in batches:
        if it["started_at"] is not None:
            waited[it["client_id"]] += (it["started_at"] - it["created_at"]).total_seconds()
            took[it["client_id"]] += ((it["closed_at"] or it["started_at"]) - it["created_at"]).total_seconds()
    parts = {client: round(waited[client] / whole, 3) if whole else 0.0 for client, whole in sorted(took.items())}
    return {"jain": round(jain([1 - it for it in parts.values()]), 3), "waited": parts}


def in_short(lines: Sequence[Row]) -> str:
    """Some batches, as `batch_line` gives them, in one line."""
    sums = {name: sum(line[name] for line in lines) for name in COUNTS}
    ends = [f"{sums[name]} {name}" for name in ("succeeded", "skipped", "failed", "cancelled") if sums[name]]
    what = f"{counted(len(lines), 'batch', 'batches')}, {counted(sums['total'], 'item')}"
    return f"{what}: " + (", ".join(ends) or "nothing to do")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 client`, `2 clients`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def breaker_line(upstream: Row) -> str:
    """How an upstream's breaker stands, in a few words."""
    said = str(upstream["breaker"]).replace("_", " ")
    return f"{said} until {upstream['open_until']:%H:%M:%S} UTC" if upstream["open_until"] else said


def percent(batch: Row) -> float:
    """How much of a batch has its recorded end, 0 to 100; an empty batch is whole."""
    closed = batch["total"] - batch["remaining"]
    return 100.0 * closed / batch["total"] if batch["total"] else 100.0


def dollars(micros: int) -> str:
    """Micro-dollars as people read money."""
    return f"${micros / 1_000_000:,.4f}"


def outcome_of(batch: Row) -> str:
    """How a batch ended, in a few words."""
    parts = [f"{batch[name]} {name}" for name in ("succeeded", "skipped", "failed", "cancelled") if batch[name]]
    if batch["target"] is not None:
        parts.append(f"{batch['gained']} of {batch['target']} {batch['workload']} gained")
    if batch["remaining"]:
        parts.append(f"{batch['remaining']} open")
    return ", ".join(parts) or "nothing to do"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A markdown table; what stands in a cell cannot break out of it."""
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A value as one line of text that neither markdown nor HTML reads as its own."""
    said = " ".join(str("" if value is None else value).split())
    return said.translate(_INERT)


def batch_markdown(batch: Row, causes: Iterable[Row], slowest: Iterable[Row], troubles: Sequence[str] = ()) -> str:
    """A batch's report: counts, causes, slowest items."""
    about = (
        f"Run {cell(batch['run_key'])}, batch {batch['id']}, {batch['mode']} mode,"
        f" cost {dollars(batch['cost_micros'])}."
    )
    sections = [
        f"# {cell(batch['client_id'])}: {batch['workload']}, {batch['state']}",
        f"{outcome_of(batch)}. {about}",
        *([f"**{cell(batch['reason'])}**"] if batch["reason"] else []),
        *(cell(it) for it in troubles),
        table(("items", *COUNTS), [("", *(batch[name] for name in COUNTS))]),
    ]
    why = [(it["state"], it["why"], it["n"]) for it in causes if it["why"]][:MOST_CAUSES]
    if why:
        sections += ["## Why items did not simply succeed", table(("state", "cause", "items"), why)]
    slow = [(it["key"], it["state"], f"{it['seconds']:.1f} s") for it in slowest]
    if slow:
        sections += ["## Slowest items", table(("item", "state", "last attempt"), slow)]
    return "\n\n".join(sections)


def failure_rows(failures: Iterable[Row]) -> list[dict[str, Any]]:
    """The failed items of a batch, as a table's rows that are safe to show."""
    return [
        {"item": cell(it["key"]), "cause": it["error_kind"], "error": cell(it["error"]), "tries": it["tries"]}
        for it in failures
    ]


def run_markdown(run: Row, decisions: Sequence[Decision], batches: Sequence[Row], troubles: Sequence[str] = ()) -> str:
    """A run's report: every client and every item accounted for."""
    items, remaining = sum(it["total"] for it in batches), sum(it["remaining"] for it in batches)
    taken = sum(it.included for it in decisions)
    rows = [(it["client_id"], it["workload"], it["state"], it["total"], outcome_of(it)) for it in batches]
    left_out = [(it.client_id, it.reason) for it in decisions if it.reason]
    sections = [
        f"# Run {cell(run['key'])}: {run['state']}",
        f"{run['mode']} mode. {taken} of {len(decisions)} clients took part; {items} items, {remaining} of them open.",
    ]
    if run["error"]:
        sections.append(f"**{cell(run['error'])}**")
    sections += [cell(it) for it in troubles]
    if rows:
        sections.append(table(("client", "workload", "state", "items", "outcome"), rows))
    else:
        sections.append("Nothing to do.")
    even = fairness(batches)
    if len(even["waited"]) > 1:
        longest = max(even["waited"], key=lambda it: even["waited"][it])
        said = f"{cell(longest)} waited longest for a driver: {even['waited'][longest]:.0%} of its time."
        sections.append(f"Fairness over clients (Jain's index): {even['jain']:.2f}. {said}")
    if left_out:
        sections += ["## Left out", table(("client", "reason"), left_out)]
    return "\n\n".join(sections)
