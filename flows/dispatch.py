"""Where drivers come from: runs of the deployment `drive/drive`, or this very process."""

from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypes
from prefect.client.schemas.objects import StateType
from prefect.deployments import arun_deployment

from muster.settings import Settings

DRIVE = "drive/drive"
MOST_DRIVERS = 32
WAITING = [StateType.SCHEDULED, StateType.PENDING]


async def start_drivers(settings: Settings) -> int:
    """Start runs of `drive/drive`, without waiting for them, until as many as are set wait for a worker; how many.

    While no worker is there, a schedule that comes by each minute must not pile them up. Each start costs the Prefect
    server 0.1 to 1 s, so that they are started one after the other.
    """
    missing = max(0, settings.drivers - await _waiting())
    for _ in range(missing):
        await arun_deployment(DRIVE, timeout=0, as_subflow=False, idempotency_key=uuid4().hex)
    return missing


async def _waiting() -> int:
    async with get_client() as client:
        runs = await client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[DRIVE.partition("/")[2]])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=StateTypes(any_=WAITING))),
            limit=MOST_DRIVERS,
        )
    return len(runs)
