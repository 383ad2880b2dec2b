"""What a run expects, frozen once it is planned: every client with its decision, every batch with its items' hash."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from muster.selection import Decision

Row = Mapping[str, Any]


class Fingerprint:
    """A hash over items in their order, taken while they stream by."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, upstream: str, key: str, payload: Mapping[str, Any]) -> None:
        """Take in the next item, with all that is asked for."""
        self._hash.update(orjson.dumps([upstream, key, payload], option=orjson.OPT_SORT_KEYS) + b"\n")

    def __str__(self) -> str:
        return self._hash.hexdigest()


def manifest_of(decisions: Iterable[Decision], batches: Sequence[Row]) -> dict[str, Any]:
    """A run's manifest, as JSON."""
    return {
        "clients": [{**asdict(it), "workloads": list(it.workloads)} for it in decisions],
        "batches": [
            {
                "key": it["key"],
                "client_id": it["client_id"],
                "workload": it["workload"],
                "items": it["total"],
                "hash": it["manifest_hash"],
            }
            for it in batches
        ],
    }


def hash_of(manifest: Any) -> str:
    """The hash of a manifest, whatever order its keys come back in."""
    return hashlib.sha256(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)).hexdigest()
