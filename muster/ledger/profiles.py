"""Profiles in the ledger: imported, found for work, and what scoring and harvesting change of them."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.sql import Select

from muster.errors import NotFound
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.domain import POST, PROFILE, Post
from muster.ledger.stories import niche_ids
from muster.states import ProfileState
from muster.upstreams.linkedin import FoundPost

NAMES_AT_ONCE: Final = 1000  # of one statement
_p = PROFILE.c

_SCORE: Final = (
    update(PROFILE)
    .where(_p.id == bindparam("profile_id"))
    .values(
        score=bindparam("points"), score_reason=bindparam("why"), scored_at=bindparam("now", type_=_p.scored_at.type)
    )
)
_HARVESTED: Final = (
    update(PROFILE)
    .where(_p.id == bindparam("profile_id"))
    .values(state=bindparam("to"), harvested_at=bindparam("now", type_=_p.harvested_at.type))
)


@dataclass(frozen=True, slots=True)
class Score:
    """A profile's score, 0 to 100."""

    profile_id: int
    score: int
    reason: str


@dataclass(frozen=True, slots=True)
class Harvest:
    """What was found at a profile; no posts means that it truly has none."""

    profile_id: int
    item_id: int
    posts: Sequence[FoundPost]


class Profiles:
    """The profiles' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def put(self, tx: Tx, rows: Sequence[Mapping[str, Any]]) -> int:
        """Create profiles, or change the address, data and niche of those that are there; all of them or none.

        A niche that is named and not there is made.
        """
        if rows:
            statement = tx.insert(PROFILE)
            new: dict[str, Any] = {
                "url": func.coalesce(statement.excluded.url, _p.url),
                "niche_id": func.coalesce(statement.excluded.niche_id, _p.niche_id),
            }
            niches = await niche_ids(tx, {(row["client_id"], row["niche"]) for row in rows if row.get("niche")})
            if any(row["data"] for row in rows):  # a file without such columns has nothing to say of them
                new["data"] = statement.excluded.data
            known = ["client_id", "platform", "handle"]
            filled = [_profile_row(row, niches) for row in rows]
            await tx.run(statement.on_conflict_do_update(index_elements=known, set_=new), filled)
        return len(rows)

    @writes
    async def forget_all(self, tx: Tx) -> None:
        """Delete every profile and post; for a ledger that holds made-up ones."""
        await tx.run(delete(POST))
        await tx.run(delete(PROFILE))

    @reads
    async def counts(self, tx: Tx) -> dict[str, int]:
        """How many profiles each client has."""
        rows = await tx.rows(select(_p.client_id, func.count().label("n")).group_by(_p.client_id))
        return {row["client_id"]: row["n"] for row in rows}

    @reads
    async def get(self, tx: Tx, profile_id: int) -> Row | None:
        """A profile as it is now."""
        return await tx.row(select(PROFILE).where(_p.id == profile_id))

    @reads
    async def named(self, tx: Tx, client_id: str, names: Sequence[int | str]) -> list[int]:
        """The ids of a client's profiles that are named by id, by handle, or by platform/handle, each once.

        Raises:
            NotFound: the client has none of that name.
        """
        found = list[int]()
        for start in range(0, len(names), NAMES_AT_ONCE):
            found += await _named(tx, client_id, names[start : start + NAMES_AT_ONCE])
        return sorted(set(found))

    async def to_score(self, client_id: str, most: int, only: Sequence[int] | None = None) -> AsyncGenerator[Row, None]:
        """Profiles without a score, in the order in which they came; `only` narrows it to some ids."""
        wanted = _of(client_id, most, only).where(_p.score.is_(None)).order_by(_p.id)
        async with self.database.reading() as tx:
            async for row in tx.stream(wanted):
                yield row

    async def to_harvest(
        self, client_id: str, before: datetime, most: int, only: Sequence[int] | None = None
    ) -> AsyncGenerator[Row, None]:
        """Profiles that were not harvested since `before`: those that never were first; without an address last."""
        due = _p.harvested_at.is_(None) | (_p.harvested_at < before)
        order = (_p.url.is_(None), _p.harvested_at.is_not(None), _p.harvested_at, _p.id)
        wanted = _of(client_id, most, only).where(due).order_by(*order)
        async with self.database.reading() as tx:
            async for row in tx.stream(wanted):
                yield row


async def keep_scores(tx: Tx, scores: Sequence[Score]) -> None:
    """Write the scores of settled items."""
    if scores:
        now = await tx.now()
        rows = [{"profile_id": it.profile_id, "points": it.score, "why": it.reason, "now": now} for it in scores]
        await tx.run(_SCORE, rows)


async def keep_posts(tx: Tx, harvests: Sequence[Harvest]) -> dict[int, int]:
    """Write the posts of settled items, each once; how many of them were new, by item id."""
    if not harvests:
        return {}
    now = await tx.now()
    seen = [
        {
            "profile_id": it.profile_id,
            "to": ProfileState.ACTIVE if it.posts else ProfileState.NO_POSTS,
            "now": now,
        }
        for it in harvests
    ]
    await tx.run(_HARVESTED, seen)
    posts = [_post_row(it, post, now) for it in harvests for post in it.posts]
    if not posts:
        return {}
    new = await tx.rows(tx.insert(POST).on_conflict_do_nothing().returning(POST.c.item_id), posts)
    return Counter(row["item_id"] for row in new)


def _profile_row(row: Mapping[str, Any], niches: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name != "niche"}
    niche_id = niches.get((row["client_id"], row.get("niche") or ""))
    return {"state": ProfileState.ACTIVE, "total_checks": 0, "total_detections": 0, **kept, "niche_id": niche_id}


def _post_row(harvest: Harvest, post: FoundPost, now: datetime) -> dict[str, Any]:
    return Post(
        profile_id=harvest.profile_id,
        external_id=post.external_id,
        item_id=harvest.item_id,
        url=post.url,
        text=post.text,
        posted_at=post.posted_at,
        data={"author": post.author, "engagement": post.engagement},
        found_at=now,
    ).model_dump(exclude={"id"})


async def _named(tx: Tx, client_id: str, names: Sequence[int | str]) -> list[int]:
    words = [it for it in names if isinstance(it, str)]
    handles = {*words, *(it.partition("/")[2] for it in words)}
    meant = _p.id.in_([it for it in names if isinstance(it, int)]) | _p.handle.in_(handles)
    found: dict[int | str, list[int]] = {}
    for row in await tx.rows(select(_p.id, _p.platform, _p.handle).where(_p.client_id == client_id, meant)):
        for name in (row["id"], row["handle"], f"{row['platform']}/{row['handle']}"):
            found.setdefault(name, []).append(row["id"])
    missing = [name for name in names if name not in found]
    if missing:
        raise NotFound(f"Client {client_id!r} has no profile {missing[0]!r}.")
    return [it for name in names for it in found[name]]


def _of(client_id: str, most: int, only: Sequence[int] | None) -> Select[Any]:
    mine = [_p.client_id == client_id, _p.state != ProfileState.GONE]
    mine += [] if only is None else [_p.id.in_(only)]
    return select(PROFILE).where(*mine).limit(most)
