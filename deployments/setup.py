"""Creates, as often as it is run, what the flows' deployments stand on: work pool, queue, concurrency limits."""

from typing import Final

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

POOL: Final = "muster"
QUEUE: Final = "default"
TAG_LIMITS: Final = {
    "muster-plan": 2,
    "muster-report": 4,
}  # none on `work`: a slot lost to a kill -9 would hold lanes back


async def set_up() -> list[str]:
    """Create what is missing; what is there and how it was found, a line each."""
    async with get_client() as client:
        lines = [await _pool(client), await _queue(client)]
        return lines + [await _tag_limit(client, tag, limit) for tag, limit in TAG_LIMITS.items()]


async def _pool(client: PrefectClient) -> str:
    try:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    except ObjectAlreadyExists:
        return f"work pool {POOL}: there"
    return f"work pool {POOL}: created"


async def _queue(client: PrefectClient) -> str:
    try:
        await client.read_work_queue_by_name(QUEUE, work_pool_name=POOL)
    except ObjectNotFound:
        await client.create_work_queue(name=QUEUE, work_pool_name=POOL)
        return f"work queue {QUEUE}: created"
    return f"work queue {QUEUE}: there"


async def _tag_limit(client: PrefectClient, tag: str, limit: int) -> str:
    """A tag's limit is the global limit named `tag:<name>`, and does nothing until it is declared."""
    name = f"tag:{tag}"
    try:
        found = await client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit))
        return f"limit {name}: created at {limit}"
    return f"limit {name}: there at {found.limit}"
