"""`work`: one lane of a batch, mapped over as many as the batch is worth."""

import asyncio

from prefect import task
from prefect.cache_policies import NO_CACHE

from muster.errors import LeaseLost
from muster.ledger.lease import Lease
from muster.processes import run_lane
from muster.settings import Settings
from muster.wiring import open_book


def _is_worth_a_retry(_task: object, _run: object, state: object) -> bool:
    """A lost lease is final: another driver has the batch."""
    return not isinstance(getattr(state, "data", None), LeaseLost)


# No tag limit here: after a kill -9 it would hold the next lane back for over a minute. Items are retried by the
# ledger; Prefect retries only the lane, when the machinery under it fails.
@task(
    name="work",
    task_run_name="lane {number} of batch {lease.batch_id}",
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=_is_worth_a_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def work(number: int, lease: Lease, apart: bool) -> dict[str, int]:  # noqa: ARG001, the number names it in the UI
    """Work the batch as one lane, in a thread's loop or a process; how many attempts ended in which state."""
    return dict(asyncio.run(_work(lease, Settings.read(), apart=apart)))


async def _work(lease: Lease, settings: Settings, *, apart: bool) -> dict[str, int]:
    async with open_book(settings) as book:
        return await run_lane(book, lease, settings, apart=apart)
