"""Endpoint pairs in the ledger: one holder uses a pair at a time, with spacing and a budget, and says how it fared.

A lease and a release are a transaction each, on the database's clock. A lease that nobody gives back frees itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, func, select, update

from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.health import proxy_after, session_after
from muster.ledger.pool import PROXY, SESSION
from muster.settings import Settings
from muster.states import ProxyState, SessionState
from muster.upstreams.pair import Pair, Verdict

HOUR: Final = timedelta(hours=1)
USE_S: Final = 1.0  # a check takes about so long
LEAST_WAIT_S: Final = 0.05  # somebody else has just taken the pair that was free
NONE_THERE: Final = "no endpoint pair is set up; `muster proxies import FILE.csv` brings them"
SHOWN: Final = (  # nobody is ever shown credentials, cookies or headers
    "id", "address", "state", "errors", "requests", "failures", "latency_ms", "last_error", "last_ok_at",
    "verified_at", "cooldown_until", "recheck_at", "holder", "item_id", "leased_until", "last_used_at", "uses_in_hour",
)  # fmt: skip

_p, _s = PROXY.c, SESSION.c
_PAIRS: Final = select(PROXY, _s.cookies, _s.headers).join(SESSION, _s.proxy_id == _p.id)
_FREE: Final = {"holder": None, "item_id": None, "leased_until": None}


@dataclass(frozen=True, slots=True)
class Rules:
    """How pairs may be used."""

    spacing_s: float  # between two uses of the same pair
    hourly_budget: int
    lease_s: float
    verify_s: float  # for which an answer proves that a proxy is responsive
    most_errors: int  # in a row, after which a proxy is disabled

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the operator set them."""
        return cls(
            settings.pair_spacing_seconds,
            settings.pair_hourly_budget,
            settings.pair_lease_seconds,
            settings.pair_verify_seconds,
            settings.pair_errors,
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """Who uses a pair: a lane, for one item."""

    lane: str
    item_id: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Every usable pair is in use or rests; the next may be free in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NoPair:
    """There is no usable pair at all, and none will be by itself soon."""

    reason: str


class Pairs:
    """The pages of the endpoint pairs."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def put(self, tx: Tx, rows: Sequence[Mapping[str, Any]]) -> int:
        """Bring pairs in, or give those that are there new credentials and another chance; all of them or none."""
        for row in rows:
            proxy = {name: row[name] for name in ("scheme", "username", "password")} | _FRESH_PROXY
            made = tx.insert(PROXY).values({**_NEW_PROXY, "address": row["address"], **proxy})
            proxy_id = await tx.value(
                made.on_conflict_do_update(index_elements=["address"], set_=proxy).returning(_p.id)
            )
            session = {"cookies": row["cookies"], "headers": row["headers"], **_FRESH_SESSION}
            put = tx.insert(SESSION).values({"proxy_id": proxy_id, **session})
            await tx.run(put.on_conflict_do_update(index_elements=["proxy_id"], set_=session))
        return len(rows)

    @reads
    async def all(self, tx: Tx) -> Sequence[Row]:
        """Every pair with its health, and without its secrets."""
        shown = [_p[name] for name in SHOWN]
        session = (_s.state.label("session"), _s.reason)
        return await tx.rows(select(*shown, *session).join(SESSION, _s.proxy_id == _p.id).order_by(_p.id))

    @reads
    async def count(self, tx: Tx) -> int:
        """How many pairs there are, in whatever health."""
        return int(await tx.value(select(func.count()).select_from(SESSION)))

    @writes
    async def lease(self, tx: Tx, holder: Holder, rules: Rules, *, only: int | None = None) -> Pair | Wait | NoPair:
        """Take the pair that was used least recently of those that may be used now.

        `only` asks for one pair, whatever its health, to look at it.
        """
        now = await tx.now()
        if tx.is_retry and (mine := await tx.row(_PAIRS.where(*_held_by(holder)))) is not None:
            return _pair(mine, now, rules)
        usable = _usable(now) if only is None else _p.id == only
        order = (_p.last_used_at.is_not(None), _p.last_used_at, _p.id)
        free = _PAIRS.where(usable, *_rested(now, rules)).order_by(*order).limit(1)
        row = await tx.row(free.with_for_update(of=PROXY, skip_locked=True))
        if row is None:
            return await _when(tx, usable | _in_use(now) if only is None else usable, now, rules)
        is_new_hour = row["hour_at"] is None or row["hour_at"] <= now - HOUR
        counted = {"hour_at": now, "uses_in_hour": 1} if is_new_hour else {"uses_in_hour": row["uses_in_hour"] + 1}
        taken = {"holder": holder.lane, "item_id": holder.item_id, "leased_until": now + _span(rules.lease_s)}
        await tx.run(update(PROXY).where(_p.id == row["id"]).values(**taken, **counted, last_used_at=now))
        return _pair(row, now, rules)

    @writes
    async def release(self, tx: Tx, pair_id: int, holder: Holder, verdict: Verdict, rules: Rules) -> bool:
        """Give the pair back and keep how it fared; False if its lease ran out and it is somebody else's."""
        mine = select(PROXY).where(_p.id == pair_id, *_held_by(holder)).with_for_update()
        proxy = await tx.row(mine)
        if proxy is None:
            return False
        now = await tx.now()
        after = proxy_after(proxy, verdict, now, rules.most_errors)
        await tx.run(update(PROXY).where(_p.id == pair_id).values(**after, **_FREE, last_used_at=now))
        if change := session_after(verdict):
            await tx.run(update(SESSION).where(_s.proxy_id == pair_id).values(change))
        return True


_FRESH_PROXY: Final = {"state": ProxyState.ACTIVE, "errors": 0, "recheck_at": None, "verified_at": None}
_FRESH_SESSION: Final = {"state": SessionState.ACTIVE, "reason": None}
_NEW_PROXY: Final = {"limited": 0, "requests": 0, "failures": 0, "uses_in_hour": 0}


def _held_by(holder: Holder) -> tuple[ColumnElement[bool], ...]:
    return (_p.holder == holder.lane, _p.item_id == holder.item_id)


def _usable(now: datetime) -> ColumnElement[bool]:
    """Pairs in good health, and disabled proxies that are due to be looked at again."""
    return (_s.state == SessionState.ACTIVE) & ((_p.state == ProxyState.ACTIVE) | (_p.recheck_at <= now))


def _in_use(now: datetime) -> ColumnElement[bool]:
    """Pairs that somebody holds, and that may prove to be in good health."""
    return (_s.state == SessionState.ACTIVE) & (_p.leased_until > now)


def _rested(now: datetime, rules: Rules) -> list[ColumnElement[bool]]:
    """Pairs that nobody holds, that are not cooling down, and have not been used too lately or too often.

    Whoever let a lease run out may have used it to its end.
    """
    before = now - _span(rules.spacing_s)
    return [
        _p.cooldown_until.is_(None) | (_p.cooldown_until <= now),
        _p.leased_until.is_(None) | (_p.leased_until <= before),
        _p.last_used_at.is_(None) | (_p.last_used_at <= before),
        _p.hour_at.is_(None) | (_p.hour_at <= now - HOUR) | (_p.uses_in_hour < rules.hourly_budget),
    ]


async def _when(tx: Tx, meant: ColumnElement[bool], now: datetime, rules: Rules) -> Wait | NoPair:
    """When the next of the pairs that are meant may be free."""
    rows = await tx.rows(_PAIRS.where(meant))
    if not rows:
        return NoPair(await _why_none(tx))
    return Wait(max(LEAST_WAIT_S, min((_ready_at(row, now, rules) - now).total_seconds() for row in rows)))


def _ready_at(row: Row, now: datetime, rules: Rules) -> datetime:
    """When a pair may be used again; who holds it usually needs it no longer than a moment."""
    spacing = _span(rules.spacing_s)
    moments: list[datetime] = [now, row["cooldown_until"] or now]
    moments += [row["last_used_at"] + spacing] if row["last_used_at"] else []
    moments += [min(row["leased_until"], now + _span(USE_S)) + spacing] if row["leased_until"] else []
    is_spent = row["hour_at"] is not None and row["uses_in_hour"] >= rules.hourly_budget
    return max([*moments, row["hour_at"] + HOUR] if is_spent else moments)


async def _why_none(tx: Tx) -> str:
    """How many pairs there are, and what is wrong with them."""
    spent = (_s.state == SessionState.DISABLED).label("spent")
    pairs = await tx.rows(select(spent).select_from(PROXY).join(SESSION, _s.proxy_id == _p.id))
    if not pairs:
        return NONE_THERE
    sessions = sum(bool(row["spent"]) for row in pairs)
    said = (
        f"of {len(pairs)}, {len(pairs) - sessions} have a proxy that is disabled and {sessions} a session that is spent"
    )
    return f"no endpoint pair is usable: {said}; `muster proxies list` shows why"


def _pair(row: Row, now: datetime, rules: Rules) -> Pair:
    verified = row["verified_at"] is not None and now - row["verified_at"] < _span(rules.verify_s)
    names = ("id", "scheme", "address", "username", "password", "cookies", "headers")
    return Pair(**{name: row[name] for name in names}, is_verified=verified)


def _span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
