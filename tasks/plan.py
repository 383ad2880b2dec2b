"""`plan`: open a run and its batches, or find them."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from muster.planning import Wanted, open_run
from muster.settings import Settings
from muster.wiring import open_book


@task(name="plan", task_run_name="plan {wanted.key}", tags=["muster-plan"], cache_policy=NO_CACHE, persist_result=False)
async def plan(wanted: Wanted) -> int:
    """Open the run and all its batches; the second time under the same key they are only found. The run's id."""
    settings = Settings.read()
    async with open_book(settings) as book:
        return await open_run(book, settings, wanted)
