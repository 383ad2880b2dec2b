"""The parameters that several flows share; what the UI's forms say of them stands in each flow's docstring."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from muster.workloads import SHELF

# Made from the shelf, so that a new workload needs no second line here.
WorkloadName = StrEnum("WorkloadName", {name.upper(): name for name in SHELF})  # type: ignore[misc]

Workloads = Annotated[list[WorkloadName], Field(min_length=1)]
EVERYTHING = list(WorkloadName)
