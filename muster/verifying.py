"""Verifying a run: its certificate held against the ledger's rows, and what is missing opened again."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from muster.certificate import Evidence, Gap, certificate_of, coverage, gaps, manifest_in
from muster.errors import UsageError
from muster.ledger import Book
from muster.ledger.database import Row
from muster.limits import Limits
from muster.planning import open_batch, open_batches
from muster.report import counted
from muster.settings import Settings
from muster.states import OPEN_BATCHES, OPEN_ITEMS, BatchState
from muster.workloads import workload_named

Left = Callable[[Book, int], Awaitable[list[str]]]

# The keys of succeeded items that left no row behind, by workload.
UNWRITTEN: Final[Mapping[str, Left]] = {"prompts": lambda book, batch_id: book.prompts.unanswered(batch_id)}


@dataclass(frozen=True, slots=True)
class Verified:
    """A run's certificate as its rows say now, and what is not as it should be, a sentence each."""

    certificate: dict[str, Any]
    found: list[Gap]

    @property
    def gaps(self) -> list[str]:
        """All of them, for people."""
        return [it.said for it in self.found]

    @property
    def wrong(self) -> list[str]:
        """Those that time alone will not mend."""
        return [it.said for it in self.found if not it.is_open]

    @property
    def coverage(self) -> float:
        """Which part of the expected items is closed, 0 to 1."""
        return coverage(self.certificate)


async def verify(book: Book, run_id: int) -> Verified:
    """Count a run's items anew, hash them anew, and hold both against what was frozen.

    Raises:
        NotFound: no such run.
    """
    evidence = await book.proving.evidence(run_id)
    fingerprints = {it["id"]: await book.proving.fingerprint(it["id"]) for it in evidence.batches}
    found = [*gaps(evidence, fingerprints), *await _unwritten(book, evidence)]
    return Verified(certificate_of(evidence), found)


async def repair(book: Book, settings: Settings, run_id: int) -> list[str]:
    """Open what is missing and nothing else; what was done, a sentence each. Whatever is open is left to drivers."""
    evidence = await book.proving.evidence(run_id)
    expected = {it["key"]: it for it in manifest_in(evidence.run)["batches"]}
    done: list[str] = []
    if evidence.run["planned_at"] is None:
        await open_batches(book, settings, run_id)
        done.append(f"Batches of run {evidence.run['key']} that were not there are open.")
    lost = sorted(expected.keys() - {it["key"] for it in evidence.batches})
    done += [await _open_again(book, settings, evidence.run, expected[key]) for key in lost]
    for batch in evidence.batches:
        if batch["state"] not in OPEN_BATCHES and batch["key"] in expected:
            done += await _mend(book, settings, batch, expected[batch["key"]], _items(evidence, batch["id"]))
    return done


async def _mend(book: Book, settings: Settings, batch: Row, wanted: Row, items: Mapping[str, int]) -> list[str]:
    try:
        if sum(items.values()) < wanted["items"]:
            n = await _restore(book, settings, batch, wanted)
            return [f"Batch {batch['id']}: {counted(n, 'item')} planned again."]
        if batch["state"] == BatchState.FAILED and any(items.get(state) for state in OPEN_ITEMS):
            await book.orders.resume(batch["id"])
            still_open = sum(items.get(state, 0) for state in OPEN_ITEMS)
            return [f"Batch {batch['id']}: resumed, with {counted(still_open, 'open item')}."]
    except UsageError as refused:  # what cannot be mended keeps nobody from mending the others
        return [str(refused)]
    return []


async def _open_again(book: Book, settings: Settings, run: Row, wanted: Row) -> str:
    try:
        await open_batch(book, settings, run, wanted["client_id"], wanted["workload"], wanted)
    except UsageError as refused:  # as above
        return str(refused)
    return f"The batch of {wanted['client_id']} {wanted['workload']} is open again, as it was planned."


async def _restore(book: Book, settings: Settings, batch: Row, wanted: Row) -> int:
    everyone = {client.id: client for client in await book.clients.all()}
    limits = Limits.model_validate(batch["limits"])
    workload = workload_named(batch["workload"], settings)
    plan = partial(workload.plan, book, everyone[batch["client_id"]], limits, batch["request"])
    return await book.proving.restore(batch["id"], wanted, plan)


async def _unwritten(book: Book, evidence: Evidence) -> list[Gap]:
    found = []
    for batch in evidence.batches:
        if look := UNWRITTEN.get(batch["workload"]):
            keys = await look(book, batch["id"])
            name = f"{batch['client_id']} {batch['workload']}: batch {batch['id']}"
            found += [Gap(f"{name} has no answer of item {key}, which succeeded.") for key in keys]
    return found


def _items(evidence: Evidence, batch_id: int) -> dict[str, int]:
    """How many items of a batch there are, by state."""
    counts: dict[str, int] = {}
    for it in evidence.ends:
        if it["batch_id"] == batch_id:
            counts[it["state"]] = counts.get(it["state"], 0) + it["n"]
    return counts
