"""`stories`: check one client's profiles for active stories, through endpoint pairs."""

from typing import Any

from prefect import flow

from flows.client import client as work_client
from flows.parameters import WorkloadName
from muster.limits import Mode, mode_for
from muster.planning import Wanted, moment_key
from muster.settings import Settings
from muster.wiring import open_book
from muster.workloads.stories import Stories
from tasks.plan import plan


@flow(name="stories", flow_run_name="{client}", persist_result=False)
async def stories(
    client: str,
    niche: str | None = None,
    profiles: list[str] = [],  # noqa: B006, nobody changes it, and Prefect's forms show it
    mode: Mode | None = None,
) -> list[dict[str, Any]]:
    """Open a run of the client's story checks, and work it as the flow `client`.

    Args:
        client: The client's id, as `muster clients list` shows it.
        niche: Only this niche of the client, until its daily target is reached. Left empty, all profiles.
        profiles: Only these handles of the client, whatever the target. Left empty, all of them.
        mode: `testing` is a small live sample. Left empty, FIRE_AND_FORGET_BATCH_PROCESS_TESTING decides.
    """
    settings = Settings.read()
    run_mode = mode_for(settings, mode)
    only = ({"niche": niche} if niche else {}) | ({"profiles": profiles} if profiles else {})
    async with open_book(settings) as book:
        key = moment_key(f"stories:{client}", await book.readings.now())
        run = await plan(Wanted(key, Stories.name, run_mode, (Stories.name,), (client,), only=only))
        worked: list[dict[str, Any]] = await work_client(client, [WorkloadName(Stories.name)], run_mode, run)
        await book.runs.close(run)
    return worked
