"""Creates, as often as it is run, the automation that has a crashed driver's batches looked after at once."""

from datetime import timedelta
from typing import Final

from prefect.client.orchestration import PrefectClient, get_client
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

NAME: Final = "muster: a driver crashed"
RECONCILE: Final = "reconcile/reconcile"
DRIVERS: Final = ("nightly", "drive", "client", "stories", "articles", "reconcile")  # flows whose run may hold leases


async def set_up_automations() -> list[str]:
    """Create the automation, or bring the one that is there up to date; a line about it.

    Raises:
        ObjectNotFound: the deployment that it runs is not there.
    """
    async with get_client() as client:
        wanted = await _wanted(client)
        found = await client.read_automations_by_name(NAME)
        if not found:
            await client.create_automation(wanted)
            return [f"automation {NAME}: created"]
        await client.update_automation(found[0].id, wanted)
        return [f"automation {NAME}: there"]


async def _wanted(client: PrefectClient) -> AutomationCore:
    deployment = await client.read_deployment_by_name(RECONCILE)
    return AutomationCore(
        name=NAME,
        description="Runs `reconcile` when a flow run that may drive batches has crashed.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(DRIVERS)},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment.id, parameters={})],
    )
