"""`stories`: an item is a profile; an endpoint pair is leased for as long as it is checked for an active story."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from muster.allotment import boot_time
from muster.errors import NotFound
from muster.landing import Claimed, Landing, NewItem
from muster.ledger import Book
from muster.ledger.database import Row, Tx
from muster.ledger.pairs import Holder, NoPair, Rules, Wait
from muster.ledger.stories import StoryCheck, Wish, keep_checks
from muster.ledger.tables import Client
from muster.limits import Limits, Terms
from muster.outcomes import ErrorKind, Failed, Note, Outcome, Retry, Skipped, Succeeded
from muster.settings import Settings
from muster.upstreams.blame import Blame
from muster.upstreams.pair import UNUSED, Pair
from muster.upstreams.stories import Checked
from muster.upstreams.stories import Stories as Endpoint
from muster.workload import Context

LONGEST_WAIT_S: Final = 60.0  # pairs may be brought in meanwhile
SATED: Final = "target reached"
_NOT_THE_ITEM: Final = {
    Blame.PAIR: ("pair.rate_limited", "is rate limited"),
    Blame.PROXY: ("pair.failed", "has a proxy that failed"),
    Blame.SESSION: ("pair.failed", "has a session that is spent"),
}


class Stories:
    """Checks profiles for active stories, each through an endpoint pair that nobody else uses meanwhile."""

    name: ClassVar[str] = "stories"
    needs: ClassVar[tuple[str, ...]] = ("stories_base_url",)
    narrowed_by: ClassVar[frozenset[str]] = frozenset({"ids", "profiles", "niche"})
    nothing: ClassVar[str] = "no profile to check for stories"
    longest_s: ClassVar[float] = 75.0  # three calls, and the ledger's own time

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rules = Rules.of(settings)

    async def is_set_up(self, book: Book) -> bool:
        """Whether there are endpoint pairs."""
        return await book.pairs.count() > 0

    async def narrow(self, book: Book, client: Client, limits: Limits, request: Mapping[str, Any]) -> Limits:
        """One check after the other, unless MUSTER_STORIES_PARALLEL says more; no more than the niche still lacks."""
        lanes = min(limits.lanes, self.settings.stories_parallel)
        at_once = max(1, self.settings.stories_parallel // lanes)
        changes: dict[str, Any] = {"lanes": lanes, "in_flight": at_once, "pairs": await book.pairs.count()}
        wish = await self._wish(book, client.id, request)
        if unknown := await book.stories.unknown(client.id, wish):
            raise NotFound(f"Client {client.id} has no profile {unknown[0]!r} on {wish.platform}.")
        if name := request.get("niche"):
            _, changes["stories_target"] = await book.stories.niche(client.id, name, await self._today(book))
        return limits.model_copy(update=changes)

    def terms(self, limits: Limits) -> Terms:
        """At most `profiles_limit` items; a niche's daily target is an allowance that they share."""
        target = limits.stories_target
        return Terms(items=limits.profiles, target=target, per_item=0 if target is None else 1)

    def bar(self, limits: Limits) -> str | None:
        """Nothing can be checked without a pair, and nothing need be once the target is reached."""
        named = {"no endpoint pair is set up": limits.pairs, "profiles limit is 0": limits.profiles}
        named["the niche's daily story target is reached"] = limits.stories_target
        return next((why for why, value in named.items() if value == 0), None)

    async def plan(
        self, book: Book, client: Client, limits: Limits, request: Mapping[str, Any]
    ) -> AsyncGenerator[NewItem, None]:
        """One item for each profile, of a niche or of some handles where the request names them."""
        wish = await self._wish(book, client.id, request)
        async for row in book.stories.to_check(client.id, wish, limits.profiles):
            niche_id = None if wish.names_profiles else row["niche_id"]  # named, they are checked whatever its target
            payload = {"profile_id": row["id"], "handle": row["handle"], "niche_id": niche_id}
            yield NewItem(f"{wish.platform}/{row['handle']}", Endpoint.NAME, payload)

    async def attempt(self, item: Claimed, ctx: Context) -> Outcome:
        """Lease a pair, check the profile through it, give the pair back whatever happens."""
        endpoint = ctx.upstream(Endpoint)
        profile = await ctx.book.stories.profile(item.payload["profile_id"])
        if profile is None:
            return Skipped(reason="the profile was deleted")
        if (niche_id := item.payload["niche_id"]) is not None and await self._is_sated(ctx.book, niche_id):
            return Skipped(reason=SATED)
        holder, asked_at = Holder(ctx.lane, item.id), boot_time()
        pair = await ctx.book.pairs.lease(holder, self.rules)
        if not isinstance(pair, Pair):
            return _without_pair(pair)
        verdict = UNUSED
        try:
            until = asked_at + self.rules.lease_s
            checked = await endpoint.check(pair, profile["handle"], profile["story_id"], until=until)
            verdict = checked.verdict
        finally:
            was_mine = await ctx.book.pairs.release(pair.id, holder, verdict, self.rules)
        return _outcome(item, profile, pair, checked) if was_mine else _too_late(pair)

    async def settle(self, tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
        """Write what the checks found; an item gains a story that is the first of its profile on this day."""
        checks = [check for landing in closed for check in landing.rows]
        return await keep_checks(tx, checks, self.settings.midnight(await tx.now()))

    async def _wish(self, book: Book, client_id: str, request: Mapping[str, Any]) -> Wish:
        niche_id = None
        if name := request.get("niche"):
            niche_id, _ = await book.stories.niche(client_id, name, await self._today(book))
        return Wish(self.settings.stories_platform, niche_id, tuple(request.get("profiles", ())), request.get("ids"))

    async def _is_sated(self, book: Book, niche_id: int) -> bool:
        return await book.stories.is_sated(niche_id, await self._today(book))

    async def _today(self, book: Book) -> datetime:
        return self.settings.midnight(await book.readings.now())


def _without_pair(found: Wait | NoPair) -> Retry:
    """Nothing was called: the item waits for a pair, or the batch for a person."""
    if isinstance(found, NoPair):
        return Retry(kind=ErrorKind.RESOURCE, error=found.reason, pauses=found.reason)
    wait = min(LONGEST_WAIT_S, found.seconds)
    said = f"Every endpoint pair is in use or rests; the next may be free in {found.seconds:.0f} s."
    return Retry(kind=ErrorKind.RESOURCE, error=said, wait=wait, busy=True)


def _too_late(pair: Pair) -> Retry:
    """The pair may have been somebody else's by then, so that the answer is not believed."""
    said = f"The lease of pair {pair.id} ran out during the check."
    return Retry(kind=ErrorKind.RESOURCE, error=said, wait=0.0, resource=_named(pair))


def _outcome(item: Claimed, profile: Row, pair: Pair, checked: Checked) -> Outcome:
    judged, notes = checked.judged, _notes(item, profile, pair, checked)
    if judged.blame is Blame.NOBODY:
        check = StoryCheck(profile["id"], item.id, checked.found, checked.story_id)
        return Succeeded(result={"active_story": checked.found, "pair": pair.id}, rows=[check], notes=notes)
    if judged.blame is Blame.ITEM:
        return Failed(kind=ErrorKind.REJECTED, error=judged.error, status_code=judged.status_code, notes=notes)
    if judged.blame is Blame.SITE:
        kind = ErrorKind.PARSE if judged.unreadable else ErrorKind.TRANSIENT
        return Retry(kind=kind, error=judged.error, wait=judged.wait, status_code=judged.status_code, notes=notes)
    said = f"Pair {pair.id} {_NOT_THE_ITEM[judged.blame][1]}: {judged.error}"
    return Retry(
        kind=ErrorKind.RESOURCE, error=said, wait=0.0, status_code=judged.status_code, resource=_named(pair),
        notes=notes,
    )  # fmt: skip


def _notes(item: Claimed, profile: Row, pair: Pair, checked: Checked) -> list[Note]:
    """What the batch log says of a check, in its order."""
    judged = checked.judged
    who = {"profile": profile["id"], "pair": pair.id}
    notes = [
        Note("check.started", f"Check of {item.key} begins.", who),
        Note("pair.leased", f"Pair {pair.id} is leased for {item.key}.", who),
    ]
    if judged.blame is Blame.NOBODY:
        kind, said = ("story.found", "has a story") if checked.found else ("story.not_found", "has no story")
        notes.append(Note(kind, f"{item.key} {said}.", who))
    if judged.blame in _NOT_THE_ITEM:
        kind, said = _NOT_THE_ITEM[judged.blame]
        notes.append(Note(kind, f"Pair {pair.id} {said}: {judged.error}", who, is_warning=True))
    notes.append(Note("pair.released", f"Pair {pair.id} is given back.", {**who, "blame": str(judged.blame)}))
    ended = {**who, "ms": checked.verdict.ms, "requests": checked.verdict.requests}
    notes.append(Note("check.ended", f"Check of {item.key} ends; to blame: {judged.blame}.", ended))
    if judged.blame not in {Blame.NOBODY, Blame.ITEM}:
        notes.append(Note("check.retry", f"{item.key} is tried again: {judged.error}", who, is_warning=True))
    return notes


def _named(pair: Pair) -> str:
    return f"pair {pair.id}"
