"""Stories in the ledger: niches and their daily target, profiles that are due for a check, and what checks found."""

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, case, func, select, update

from muster.errors import NotFound
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.domain import DAILY_STORY_TARGET, NICHE, PROFILE
from muster.states import ProfileState

_n, _p = NICHE.c, PROFILE.c
_HAS_STORY: Final = bindparam("found", type_=_p.active_story.type)
_CHECKED: Final = (
    update(PROFILE)
    .where(_p.id == bindparam("profile_id"))
    .values(
        active_story=_HAS_STORY,
        last_checked=bindparam("now", type_=_p.last_checked.type),
        last_story_detected=case(
            (_HAS_STORY, bindparam("now", type_=_p.last_checked.type)), else_=_p.last_story_detected
        ),
        total_checks=_p.total_checks + 1,
        total_detections=_p.total_detections + case((_HAS_STORY, 1), else_=0),
        story_id=bindparam("at_site"),
    )
)


@dataclass(frozen=True, slots=True)
class StoryCheck:
    """What a check that worked found at a profile; `story_id` is the profile's own at the site."""

    profile_id: int
    item_id: int
    found: bool
    story_id: str


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose stories are wanted: a platform's, of one niche or of some handles, if these are named."""

    platform: str
    niche_id: int | None = None
    handles: Collection[str] = ()
    ids: Collection[int] | None = None

    @property
    def names_profiles(self) -> bool:
        """Whether single profiles are named."""
        return bool(self.handles) or self.ids is not None


class Stories:
    """The pages of niches and story checks."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def put_niche(self, tx: Tx, client_id: str, name: str, target: int | None = None) -> None:
        """Create a niche, or change the daily target of the one that is there."""
        row = {"client_id": client_id, "name": name}
        put = tx.insert(NICHE).values({**row, "daily_story_target": DAILY_STORY_TARGET if target is None else target})
        known = ["client_id", "name"]
        if target is None:
            await tx.run(put.on_conflict_do_nothing(index_elements=known))
        else:
            await tx.run(put.on_conflict_do_update(index_elements=known, set_={"daily_story_target": target}))

    @reads
    async def niches(self, tx: Tx, since: datetime) -> Sequence[Row]:
        """Every niche, with how many profiles it has and at how many a story was found since a moment."""
        found = func.count().filter(_p.last_story_detected >= since).label("found")
        rows = select(NICHE, func.count(_p.id).label("profiles"), found).outerjoin(PROFILE, _p.niche_id == _n.id)
        return await tx.rows(rows.group_by(*NICHE.c).order_by(_n.client_id, _n.name))

    @reads
    async def niche(self, tx: Tx, client_id: str, name: str, since: datetime) -> tuple[int, int]:
        """A niche's id, and how many stories are missing to its target since a moment.

        Raises:
            NotFound: the client has no such niche.
        """
        row = await tx.row(select(NICHE).where(_n.client_id == client_id, _n.name == name))
        if row is None:
            raise NotFound(f"Client {client_id} has no niche {name!r}; `muster niches list` shows them.")
        return row["id"], max(0, row["daily_story_target"] - await _found(tx, row["id"], since))

    @reads
    async def unknown(self, tx: Tx, client_id: str, wish: Wish) -> list[str]:
        """The wanted handles that the client has no profile of."""
        rows = await tx.rows(select(_p.handle).where(*_wanted(client_id, wish)))
        return sorted(set(wish.handles) - {row["handle"] for row in rows})

    async def to_check(self, client_id: str, wish: Wish, most: int) -> AsyncGenerator[Row, None]:
        """Profiles to check, those that were checked longest ago first."""
        order = (_p.last_checked.is_not(None), _p.last_checked, _p.id)
        wanted = select(_p.id, _p.handle, _p.niche_id).where(*_wanted(client_id, wish)).order_by(*order).limit(most)
        async with self.database.reading() as tx:
            async for row in tx.stream(wanted):
                yield row

    @reads
    async def profile(self, tx: Tx, profile_id: int) -> Row | None:
        """A profile as it is now."""
        return await tx.row(select(PROFILE).where(_p.id == profile_id))

    @reads
    async def is_sated(self, tx: Tx, niche_id: int, since: datetime) -> bool:
        """Whether a niche has reached its daily target."""
        target = await tx.value(select(_n.daily_story_target).where(_n.id == niche_id))
        return target is not None and await _found(tx, niche_id, since) >= target


async def keep_checks(tx: Tx, checks: Sequence[StoryCheck], since: datetime) -> Mapping[int, int]:
    """Write what settled checks found, each once; an item gains a profile whose first story since a moment it found."""
    if not checks:
        return {}
    ids = [it.profile_id for it in checks]
    before = select(_p.id).where(_p.id.in_(ids), _p.last_story_detected >= since)
    known = {row["id"] for row in await tx.rows(before)}
    now = await tx.now()
    rows = [
        {"profile_id": it.profile_id, "found": it.found, "now": now, "at_site": it.story_id}
        for it in sorted(checks, key=lambda it: it.profile_id)
    ]
    await tx.run(_CHECKED, rows)
    return Counter(it.item_id for it in checks if it.found and it.profile_id not in known)


def _wanted(client_id: str, wish: Wish) -> list[ColumnElement[bool]]:
    meant: list[ColumnElement[bool]] = [_p.client_id == client_id, _p.platform == wish.platform]
    meant.append(_p.state != ProfileState.GONE)
    if wish.niche_id is not None:
        meant.append(_p.niche_id == wish.niche_id)
    if wish.handles:
        meant.append(_p.handle.in_(sorted(wish.handles)))
    if wish.ids is not None:
        meant.append(_p.id.in_(wish.ids))
    return meant


async def _found(tx: Tx, niche_id: int, since: datetime) -> int:
    found = select(func.count()).select_from(PROFILE).where(_p.niche_id == niche_id, _p.last_story_detected >= since)
    return int(await tx.value(found))


async def niche_ids(tx: Tx, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The ids of niches by client and name; those that are missing are made."""
    if not names:
        return {}
    fresh = [{"client_id": it, "name": name, "daily_story_target": DAILY_STORY_TARGET} for it, name in sorted(names)]
    await tx.run(tx.insert(NICHE).on_conflict_do_nothing(index_elements=["client_id", "name"]), fresh)
    rows = await tx.rows(select(NICHE).where(_n.client_id.in_({client for client, _ in names})))
    return {(row["client_id"], row["name"]): row["id"] for row in rows}
