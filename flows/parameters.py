"""The parameters that several flows share, as the UI's forms show them."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from muster.limits import Mode
from muster.workloads import SHELF

# Made from the shelf, so that a new workload needs no second line here.
WorkloadName = StrEnum("WorkloadName", {name.upper(): name for name in SHELF})  # type: ignore[misc]

Workloads = Annotated[
    list[WorkloadName],
    Field(description="What is done for each client, one after the other.", min_length=1),
]
ModeChoice = Annotated[
    Mode | None,
    Field(
        description="`testing` is a small live sample: at most 5 clients, 5 profiles, 5 leads, 5 posts."
        " Left empty, FIRE_AND_FORGET_BATCH_PROCESS_TESTING decides."
    ),
]
EVERYTHING = list(WorkloadName)
