"""A driver's right to write to a batch, and what is handed on to its lanes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """`epoch` is the fencing number: whoever holds an older one can write nothing."""

    batch_id: int
    epoch: int
