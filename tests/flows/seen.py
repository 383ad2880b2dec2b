"""What Prefect's own API says afterwards."""

from collections.abc import Sequence
from typing import Any, Final

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort

from flows.parameters import WorkloadName

PROFILES: Final = [WorkloadName("profiles")]


async def artifact(key: str) -> Artifact:
    """The newest artifact with that key."""
    async with get_client() as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        found = await client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1)
    assert found, f"there is no artifact {key}"
    return found[0]


async def client_runs(*names: str) -> Sequence[FlowRun]:
    """The runs of the flow `client`, newest first, of the clients with these ids."""
    async with get_client() as client:
        return await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["client"])),
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=list(names))),
            sort=FlowRunSort.START_TIME_DESC,
        )


def message(state: Any) -> str:
    """What a state says of itself."""
    return str(state.message)
