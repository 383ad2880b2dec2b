"""Endpoint pairs: who may use one, when, and what becomes of it; on both databases, by the database's clock."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from muster.ledger import Book
from muster.ledger.database import Row
from muster.ledger.health import COOLDOWN_S, RECHECK_S
from muster.ledger.pairs import Holder, NoPair, Rules, Wait
from muster.ledger.pool import PROXY, SESSION
from muster.states import ProxyState, SessionState
from muster.upstreams.blame import Blame
from muster.upstreams.pair import Pair, Verdict
from tests.conftest import Clock
from tests.drain import a_pair

RULES = Rules(spacing_s=20, hourly_budget=150, lease_s=60, verify_s=60, most_errors=3)
ME, OTHER = Holder("me", 1), Holder("other", 2)
FINE = Verdict(Blame.NOBODY, requests=3, ms=100, answered=True)


async def pairs(book: Book, n: int = 1) -> None:
    await book.pairs.put([a_pair(f"10.0.0.{at}:80", f"s{at}", password="topsecret") for at in range(1, n + 1)])


async def leased(book: Book, holder: Holder = ME, rules: Rules = RULES) -> Pair:
    found = await book.pairs.lease(holder, rules)
    assert isinstance(found, Pair), found
    return found


async def used(book: Book, verdict: Verdict = FINE, rules: Rules = RULES) -> Pair:
    pair = await leased(book, rules=rules)
    assert await book.pairs.release(pair.id, ME, verdict, rules)
    return pair


async def waits(book: Book, rules: Rules = RULES) -> float:
    found = await book.pairs.lease(OTHER, rules)
    assert isinstance(found, Wait), found
    return found.seconds


async def rows(book: Book) -> Sequence[Row]:
    both = select(PROXY, SESSION.c.state.label("session"), SESSION.c.reason).join(SESSION)
    return await book.database.read(lambda tx: tx.rows(both.order_by(PROXY.c.id)))


async def test_get_available_proxy_from_pool_least_recently_used_first(book: Book, clock: Clock):
    await pairs(book, 3)
    first = [(await used(book)).id for _ in range(3)]
    clock.pass_(20)
    await book.pairs.release((await leased(book)).id, ME, FINE, RULES)
    clock.pass_(20)

    assert first == [1, 2, 3]
    assert (await leased(book)).id == 2


async def test_nobody_else_gets_a_pair_that_is_leased_however_many_ask_at_once(book: Book):
    await pairs(book, 3)

    found = await asyncio.gather(*(book.pairs.lease(Holder(f"lane{n}", n), RULES) for n in range(8)))

    assert sorted(it.id for it in found if isinstance(it, Pair)) == [1, 2, 3]
    assert sum(isinstance(it, Wait) for it in found) == 5


async def test_release_proxy_after_use_and_reuse_it_after_its_spacing(book: Book, clock: Clock):
    await pairs(book)
    await used(book)

    assert await waits(book) == pytest.approx(20)
    clock.pass_(19.9)
    assert await waits(book) == pytest.approx(0.1)
    clock.pass_(0.1)
    assert (await leased(book)).id == 1


async def test_only_the_holder_may_release(book: Book, clock: Clock):
    await pairs(book)
    await leased(book)

    assert not await book.pairs.release(1, OTHER, FINE, RULES)
    assert not await book.pairs.release(1, Holder("me", 2), FINE, RULES)
    clock.pass_(80)
    await leased(book, OTHER)

    assert not await book.pairs.release(1, ME, Verdict(Blame.PROXY, "too late"), RULES)
    (row,) = await rows(book)
    assert (row["holder"], row["errors"]) == ("other", 0)


async def test_an_expired_lease_frees_itself_after_its_spacing(book: Book, clock: Clock):
    await pairs(book)
    await leased(book)
    clock.pass_(60)

    assert await waits(book) == pytest.approx(20)
    clock.pass_(20)
    assert (await leased(book, OTHER)).id == 1


async def test_the_hourly_budget_is_kept_in_the_ledger(book: Book, clock: Clock):
    rules = Rules(0, 3, 60, 60, 3)
    await pairs(book)
    for _ in range(3):
        await used(book, rules=rules)
        clock.pass_(60)

    assert await waits(book, rules) == pytest.approx(3600 - 180)
    clock.pass_(3600 - 180)
    assert (await used(book, rules=rules)).id == 1
    assert (await rows(book))[0]["uses_in_hour"] == 1


@pytest.mark.parametrize(
    ("told", "rests"), [((30.0,), 30), ((None,), COOLDOWN_S), ((None, None), 2 * COOLDOWN_S), ((None, 5.0), 20)]
)
async def test_cooldown_period_is_what_the_site_says_else_grows(
    book: Book, clock: Clock, told: tuple[float | None, ...], rests: float
):
    await pairs(book)
    for wait in told:
        clock.pass_(10 * COOLDOWN_S)
        await used(book, Verdict(Blame.PAIR, "429", wait=wait, requests=2, ms=10, answered=True))

    assert await waits(book) == pytest.approx(rests)  # 5 s are over before the spacing is


async def test_a_success_ends_the_growth_of_the_cooldown(book: Book, clock: Clock):
    await pairs(book)
    limited = Verdict(Blame.PAIR, "429", answered=True)
    for verdict in (limited, FINE, limited):
        clock.pass_(10 * COOLDOWN_S)
        await used(book, verdict)

    assert await waits(book) == pytest.approx(COOLDOWN_S)


async def test_handle_proxy_validation_failures_disables_after_three_and_looks_again_ever_more_rarely(
    book: Book, clock: Clock
):
    await pairs(book)
    dead = Verdict(Blame.PROXY, "The proxy could not be reached.", requests=1)
    for errors in (1, 2, 3):
        clock.pass_(20)
        await used(book, dead)
        assert (await rows(book))[0]["errors"] == errors

    assert isinstance(await book.pairs.lease(ME, RULES), NoPair)
    clock.pass_(RECHECK_S)
    await used(book, dead)
    (row,) = await rows(book)
    assert row["state"] == ProxyState.DISABLED
    assert row["recheck_at"] == clock.now + timedelta(seconds=2 * RECHECK_S)

    clock.pass_(2 * RECHECK_S)
    await used(book)
    (row,) = await rows(book)
    assert (row["state"], row["errors"], row["recheck_at"]) == (ProxyState.ACTIVE, 0, None)


async def test_an_error_in_a_row_is_forgotten_once_the_proxy_answers(book: Book, clock: Clock):
    await pairs(book)
    dead = Verdict(Blame.PROXY, "gone", requests=1)
    for verdict in (dead, dead, FINE, dead, dead):
        clock.pass_(20)
        await used(book, verdict)

    assert (await rows(book))[0]["state"] == ProxyState.ACTIVE


async def test_a_spent_session_is_disabled_with_its_reason_and_its_proxy_is_not(book: Book):
    await pairs(book)
    await used(book, Verdict(Blame.SESSION, "stories answered 403: login_required.", answered=True))

    (row,) = await rows(book)
    assert (row["state"], row["session"]) == (ProxyState.ACTIVE, SessionState.DISABLED)
    assert "login_required" in row["reason"]
    found = await book.pairs.lease(ME, RULES)
    assert isinstance(found, NoPair)
    assert "1 a session that is spent" in found.reason


async def test_without_any_pair_there_is_none(book: Book):
    found = await book.pairs.lease(ME, RULES)

    assert isinstance(found, NoPair)
    assert "muster proxies import" in found.reason


async def test_importing_again_gives_new_credentials_and_another_chance(book: Book):
    await pairs(book)
    await used(book, Verdict(Blame.SESSION, "spent", answered=True))
    await book.pairs.put([a_pair("10.0.0.1:80", "new", username="ann")])

    assert await book.pairs.count() == 1
    (row,) = await rows(book)
    assert (row["session"], row["reason"], row["username"]) == (SessionState.ACTIVE, None, "ann")


async def test_verify_proxy_before_use_is_remembered_for_a_while(book: Book, clock: Clock):
    await pairs(book)
    assert not (await used(book)).is_verified
    clock.pass_(20)
    assert (await used(book, Verdict(Blame.NOBODY, requests=2, ms=200))).is_verified
    clock.pass_(40)

    assert not (await leased(book)).is_verified


async def test_health_is_counted(book: Book, clock: Clock):
    await pairs(book)
    for verdict in (FINE, Verdict(Blame.SITE, "503", requests=2, ms=200), Verdict(Blame.ITEM, "404", requests=1)):
        clock.pass_(20)
        await used(book, verdict)

    (row,) = await rows(book)
    assert (row["requests"], row["failures"]) == (6, 0)
    assert row["latency_ms"] == pytest.approx(0.7 * 100 + 0.3 * 200)
    assert row["last_ok_at"] == clock.now


async def test_no_listing_and_no_repr_gives_a_secret_away(book: Book):
    await pairs(book)
    pair = await leased(book)
    shown: list[Any] = [pair, [dict(it) for it in await book.pairs.all()]]

    assert "topsecret" not in str(shown) + repr(shown)
    assert "10.0.0.1" not in repr(pair)
    assert not {"password", "username", "cookies", "headers"} & set((await book.pairs.all())[0])
