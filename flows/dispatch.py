"""Where drivers come from: runs of the deployment `drive/drive`, or this very process."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
)
from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypes
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound

from muster.errors import ConfigurationError
from muster.ledger import Book
from muster.limits import mode_for
from muster.settings import Settings

DRIVE = "drive/drive"
NIGHT = "nightly/nightly"
MOST_DRIVERS = 32
MOST_CRASHES = 3  # of a night's flow run, before it is left to a person
A_DAY = timedelta(hours=26)  # the longest has 25, and a night may begin a little late
WAITING = [StateType.SCHEDULED, StateType.PENDING]


async def start_drivers(settings: Settings) -> int:
    """Start runs of `drive/drive`, without waiting for them, until as many as are set wait for a worker; how many.

    While no worker is there, a schedule that comes by each minute must not pile them up. Each start costs the Prefect
    server 0.1 to 1 s, so that they are started one after the other.
    """
    missing = max(0, settings.drivers - len(await _flow_runs(DRIVE, WAITING)))
    for _ in range(missing):
        await arun_deployment(DRIVE, timeout=0, as_subflow=False, idempotency_key=uuid4().hex)
    return missing


async def start_night(parameters: dict[str, Any]) -> None:
    """Start `nightly/nightly` as its schedule would, without waiting for it.

    Raises:
        ConfigurationError: it is not deployed.
    """
    try:
        await arun_deployment(NIGHT, parameters=parameters, timeout=0, as_subflow=False, idempotency_key=uuid4().hex)
    except ObjectNotFound:
        raise ConfigurationError(f"{NIGHT} is not deployed; `muster deploy` does that.") from None


async def catch_up(book: Book, settings: Settings) -> bool:
    """Start the night again where its flow run crashed before it opened a run; whether that was done.

    A run that is only late needs nobody: Prefect's scheduler wrote it down ahead, and the next worker takes it.
    """
    now = await book.readings.now()
    if await book.runs.night(mode_for(settings), now - A_DAY):
        return False
    crashes = await _flow_runs(NIGHT, [StateType.CRASHED], since=now - A_DAY)
    waiting = await _flow_runs(NIGHT, [*WAITING, StateType.RUNNING], since=now - A_DAY, until=now)
    if not 0 < len(crashes) < MOST_CRASHES or waiting:
        return False
    await start_night({"started_by": "reconcile: the night's flow run crashed"})
    return True


async def _flow_runs(
    deployment: str, states: list[StateType], *, since: datetime | None = None, until: datetime | None = None
) -> list[FlowRun]:
    """The runs of a deployment in some states, that were to start in a span of time."""
    async with get_client() as client:
        return await client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment.partition("/")[2]])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=StateTypes(any_=states)),
                expected_start_time=FlowRunFilterExpectedStartTime(after_=since, before_=until),
            ),
            limit=MOST_DRIVERS,
        )
