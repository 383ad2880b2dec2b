"""`posts`: an item is a profile, an Apify actor run harvests its posts."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, ClassVar

from muster.landing import Claimed, Landing, NewItem
from muster.ledger import Book
from muster.ledger.database import Row, Tx
from muster.ledger.profiles import Harvest, keep_posts
from muster.ledger.tables import Client
from muster.limits import Limits, Terms
from muster.outcomes import ErrorKind, Outcome, Retry, Skipped, Succeeded
from muster.settings import Settings
from muster.upstreams.apify import ActorRun, Apify
from muster.upstreams.linkedin import posts_input, posts_of
from muster.workload import Context

RUN_SECONDS = 300  # the actor run's own limit
WAIT_SECONDS = 360  # after which a run that does not end is aborted


class Posts:
    """Harvests the posts of profiles until the client's target is reached."""

    name: ClassVar[str] = "posts"
    needs: ClassVar[tuple[str, ...]] = ("apify_token",)
    nothing: ClassVar[str] = "no profile is due for a harvest"
    narrowed_by: ClassVar[frozenset[str]] = frozenset({"ids"})
    longest_s: ClassVar[float] = WAIT_SECONDS + 300.0  # to start the run, and to read what it found

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def terms(self, limits: Limits) -> Terms:
        """The target is an allowance that all leads share; there are at most `max_batches` claims' worth of leads."""
        leads = limits.max_batches * limits.batch_size
        return Terms(leads, limits.batch_size, limits.posts_target, limits.posts_per_profile)

    def bar(self, limits: Limits) -> str | None:
        """A client without a target has nothing to harvest."""
        if limits.posts_target is None:
            return "no posts target is set"
        named = {
            "posts target": limits.posts_target,
            "max batches": limits.max_batches,
            "max posts per profile": limits.posts_per_profile,
        }
        return next((f"{name} is 0" for name, value in named.items() if value == 0), None)

    async def plan(
        self, book: Book, client: Client, limits: Limits, request: Mapping[str, Any]
    ) -> AsyncGenerator[NewItem, None]:
        """One item for each profile that is due for a harvest."""
        before = await book.readings.now() - timedelta(days=self.settings.harvest_again_days)
        most, only = limits.max_batches * limits.batch_size, request.get("ids")
        async for row in book.profiles.to_harvest(client.id, before, most, only):
            payload = {"profile_id": row["id"], "url": row["url"], "harvested_at": _moment(row)}
            yield NewItem(f"{row['platform']}/{row['handle']}", Apify.NAME, payload)

    async def attempt(self, item: Claimed, ctx: Context) -> Outcome:
        """Run the actor for as many posts as the claim reserved, unless another batch has harvested the profile."""
        profile = await ctx.book.profiles.get(item.payload["profile_id"])
        if profile is None or _moment(profile) != item.payload["harvested_at"]:
            why = "the profile was deleted" if profile is None else "harvested by another batch meanwhile"
            return Skipped(reason=why)
        if not item.payload["url"]:
            return Skipped(reason="the profile has no address")
        apify, url = ctx.upstream(Apify), item.payload["url"]

        async def start() -> dict[str, Any]:
            wanted = posts_input(url, limit=item.reserved, window=self.settings.posts_window)
            run = await apify.start(
                self.settings.posts_actor, wanted, max_items=item.reserved, run_timeout_s=RUN_SECONDS
            )
            return asdict(run)

        # A run that was paid for is waited for again after a crash; only a used-up try or a redrive starts another.
        known = await ctx.step(f"run-{item.redrives}.{item.tries}", start)
        run = await apify.wait(ActorRun(**known), deadline_s=WAIT_SECONDS)
        found = posts_of(await apify.items(run, limit=10 * item.reserved + 10), url)
        result = {"posts": len(found), "run": run.id, "status": run.status}
        if not found and not run.succeeded:
            error = f"Apify: actor run {run.id} ended {run.status}. {run.message}".strip()
            return Retry(kind=ErrorKind.TRANSIENT, error=error, cost_micros=run.cost_micros)
        harvest = Harvest(item.payload["profile_id"], item.id, found[: item.reserved])
        if not found:
            return Skipped(reason="no posts", rows=[harvest], cost_micros=run.cost_micros)
        mark = None if run.succeeded else ErrorKind.CUT_OFF
        return Succeeded(result=result, rows=[harvest], cost_micros=run.cost_micros, mark=mark)

    async def settle(self, tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
        """Keep the posts, each once; an item gains those that are new."""
        return await keep_posts(tx, [harvest for landing in closed for harvest in landing.rows])


def _moment(profile: Row) -> str | None:
    """When it was harvested last, as JSON keeps it."""
    harvested_at = profile["harvested_at"]
    return None if harvested_at is None else str(harvested_at.isoformat())
