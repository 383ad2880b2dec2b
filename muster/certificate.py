"""How a run ended, for every client: what was expected, how each item ended, who was left out and why; pure.

The sums must match: what is expected was frozen in the manifest, what is found is counted from the items' own rows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from muster.manifest import hash_of
from muster.report import cell, counted, table
from muster.selection import Decision
from muster.states import OPEN_ITEMS, BatchState, ItemState, RunState

Row = Mapping[str, Any]

ENDS: Final = tuple(str(it) for it in (ItemState.SUCCEEDED, ItemState.SKIPPED, ItemState.FAILED, ItemState.CANCELLED))
OPEN: Final = "open"
NO_MANIFEST: Final[Row] = {"clients": [], "batches": []}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ledger holds of a run: its own row, its batches', and how many items of each ended how and why."""

    run: Row
    batches: Sequence[Row]
    ends: Sequence[Row]  # of (batch_id, state, why, n), counted from the items
    decisions: Sequence[Decision]


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing that is not as it should be; an open item only is not done yet, anything else is wrong."""

    said: str
    is_open: bool = False


def certificate_of(evidence: Evidence) -> dict[str, Any]:
    """The certificate, as JSON: clients in the order of their ids, and the sums over them."""
    run, manifest = evidence.run, manifest_in(evidence.run)
    clients = [_client(decision, evidence) for decision in manifest["clients"]]
    sums = {name: sum(it[name] for it in clients) for name in ("expected", *ENDS, OPEN)}
    return {
        "run": run["key"],
        "mode": run["mode"],
        "manifest_hash": run["manifest_hash"],
        "complete": sums[OPEN] == 0 and all(it["expected"] == _found(it) for it in clients),
        **sums,
        "clients": clients,
    }


def coverage(certificate: Row) -> float:
    """Which part of the expected items is closed, 0 to 1; all of them where nothing was expected."""
    expected = certificate["expected"]
    return (expected - certificate[OPEN] - _lost(certificate)) / expected if expected else 1.0


def summary(certificate: Row) -> str:
    """A certificate in one line."""
    expected, lost = certificate["expected"], _lost(certificate)
    closed = expected - certificate[OPEN] - lost
    parts = [(certificate["failed"], "failed"), (certificate[OPEN], "open"), (lost, "gone")]
    more = "".join(f", {n} {what}" for n, what in parts if n)
    return f"Run {certificate['run']}: {closed} of {counted(expected, 'item')} closed{more}."


def certificate_markdown(certificate: Row, found: Sequence[str] | None = None) -> str:
    """A certificate as an artifact; `found` are its gaps, where somebody looked for them."""
    head = ("client", "expected", *ENDS, OPEN, "left out")
    rows = [[*(it[name] for name in head[:-1]), it["reason"]] for it in certificate["clients"]]
    sums = ["all", *(certificate[name] for name in head[1:-1]), None]
    causes = [(it["client"], *why.values()) for it in certificate["clients"] for why in it["causes"]]
    sections = [
        f"# Certificate of run {cell(certificate['run'])}",
        f"{cell(summary(certificate))} Manifest `{certificate['manifest_hash']}`.",
        table(head, [*rows, sums]),
    ]
    if causes:
        sections += ["## Why items did not simply succeed", table(("client", "state", "cause", "items"), causes)]
    if found:
        sections += ["## Gaps", "\n".join(f"- {cell(it)}" for it in found)]
    elif found is not None:
        sections.append("Verified: every expected item is there, with one recorded end.")
    return "\n\n".join(sections)


def gaps(evidence: Evidence, fingerprints: Mapping[int, str]) -> list[Gap]:
    """What is not as it should be, a sentence each; `fingerprints` are the batches' items hashed anew, by batch id."""
    if evidence.run["manifest"] is None:
        said = f"Run {evidence.run['key']} has no manifest: it was not planned to its end, or by an older version."
        return [Gap(said)]
    if hash_of(evidence.run["manifest"]) != evidence.run["manifest_hash"]:
        said = f"The manifest of run {evidence.run['key']} was changed after it had been frozen; it proves nothing now."
        return [Gap(said)]
    return [*_of_run(evidence), *_of_batches(evidence, fingerprints)]


def _of_run(evidence: Evidence) -> Iterator[Gap]:
    run = evidence.run
    frozen = [(it["client_id"], it["included"], it["reason"], it["workloads"]) for it in run["manifest"]["clients"]]
    found = [(it.client_id, it.included, it.reason, list(it.workloads)) for it in evidence.decisions]
    if frozen != found:
        yield Gap(f"The decisions of run {run['key']} on its clients are not those that were frozen.")
    if run["state"] == RunState.RUNNING:
        yield Gap(f"Run {run['key']} is still running.", is_open=True)
    elif run["certificate"] != certificate_of(evidence):
        yield Gap(f"The certificate of run {run['key']} is not what its items say now.")


def _of_batches(evidence: Evidence, fingerprints: Mapping[int, str]) -> Iterator[Gap]:
    there = {it["key"]: it for it in evidence.batches}
    expected = {it["key"]: it for it in evidence.run["manifest"]["batches"]}
    for key, wanted in expected.items():
        if key not in there:
            yield Gap(f"{_name(wanted)}: the batch is gone, and with it {counted(wanted['items'], 'item')}.")
        else:
            yield from _of_batch(there[key], wanted, evidence, fingerprints)
    for key in there.keys() - expected.keys():
        yield Gap(f"{_name(there[key])}: batch {there[key]['id']} was never planned.")


def _of_batch(batch: Row, wanted: Row, evidence: Evidence, fingerprints: Mapping[int, str]) -> Iterator[Gap]:
    name = f"{_name(batch)}: batch {batch['id']}"
    counts = _counts(evidence, {batch["id"]})
    items, still_open = counts.total(), sum(counts[state] for state in OPEN_ITEMS)
    if items != wanted["items"]:
        yield Gap(f"{name} has {counted(items, 'item')}, and {wanted['items']} were planned.")
    elif fingerprints[batch["id"]] != wanted["hash"]:
        yield Gap(f"{name} has other items than those that were planned.")
    if any(batch[state] != counts[state] for state in ENDS) or batch["total"] != wanted["items"]:
        yield Gap(f"{name} counts otherwise than its items do.")
    if batch["state"] == BatchState.FAILED and not still_open:
        yield Gap(f"{name} is failed, and all of its items are closed.")
    if still_open:
        why = f": {batch['reason'].rstrip('.')}" if batch["reason"] else ""
        yield Gap(f"{name} is {batch['state']} with {counted(still_open, 'item')} open{why}.", is_open=True)


def _client(decision: Row, evidence: Evidence) -> dict[str, Any]:
    mine = [it for it in manifest_in(evidence.run)["batches"] if it["client_id"] == decision["client_id"]]
    keys = {it["key"] for it in mine}
    ids = {it["id"] for it in evidence.batches if it["key"] in keys}
    counts = _counts(evidence, ids)
    return {
        "client": decision["client_id"],
        "included": decision["included"],
        "reason": decision["reason"],
        "expected": sum(it["items"] for it in mine),
        **{state: counts[state] for state in ENDS},
        OPEN: sum(counts[state] for state in OPEN_ITEMS),
        "causes": _causes(it for it in evidence.ends if it["batch_id"] in ids),
    }


def _causes(ends: Iterable[Row]) -> list[dict[str, Any]]:
    """Why items did not simply succeed, the most frequent first."""
    causes = Counter[tuple[str, str]]()
    for it in ends:
        if it["why"] and it["state"] not in OPEN_ITEMS:
            causes[str(it["state"]), it["why"]] += it["n"]
    ranked = sorted(causes.items(), key=lambda it: (-it[1], it[0]))
    return [{"state": state, "why": why, "items": n} for (state, why), n in ranked]


def _counts(evidence: Evidence, batch_ids: set[int]) -> Counter[str]:
    counts = Counter[str]()
    for it in evidence.ends:
        if it["batch_id"] in batch_ids:
            counts[it["state"]] += it["n"]
    return counts


def _found(sums: Row) -> int:
    return int(sum(sums[name] for name in (*ENDS, OPEN)))


def _lost(sums: Row) -> int:
    """Items that were expected, and of which no row is left."""
    return int(max(0, sums["expected"] - _found(sums)))


def manifest_in(run: Row) -> Row:
    """A run's manifest; an empty one where it has none, or one that is not what was frozen."""
    is_frozen = run["manifest"] is not None and hash_of(run["manifest"]) == run["manifest_hash"]
    return run["manifest"] if is_frozen else NO_MANIFEST


def _name(batch: Row) -> str:
    return f"{batch['client_id']} {batch['workload']}"
