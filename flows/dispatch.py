"""Where drivers come from: runs of the deployment `drive/drive`, or this very process."""

from uuid import uuid4

from prefect.deployments import arun_deployment

from muster.settings import Settings

DRIVE = "drive/drive"


async def start_drivers(settings: Settings) -> int:
    """Start as many runs of `drive/drive` as are set, without waiting for them; how many.

    Each start costs the Prefect server 0.1 to 1 s, so that they are started one after the other.
    """
    for _ in range(settings.drivers):
        await arun_deployment(DRIVE, timeout=0, as_subflow=False, idempotency_key=uuid4().hex)
    return settings.drivers
