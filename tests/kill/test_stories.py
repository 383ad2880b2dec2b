"""The acceptance of `stories`: 500 profiles, ten pairs of which five misbehave, four lanes in two processes, a kill."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import select

from muster.ledger.domain import PROFILE
from muster.ledger.pool import PROXY
from muster.limits import Mode
from muster.planning import Wanted, open_run
from muster.simulator.stories import has_story
from muster.states import BatchState, ProxyState, SessionState
from tests.drain import a_pair
from tests.kill.field import Field, a_field

SPACING_S = 0.1
CLIENTS = ("acme", "birch")
PROFILES = 250  # of each client
PAIRS, DEAD = 10, 2
TOPSECRET = "topsecret"  # in every credential and session
SESSIONS = ("sim-limit-20-a", "sim-limit-20-b", "sim-denied-c")
ENVIRON = {
    "MUSTER_PAIR_SPACING_SECONDS": str(SPACING_S),
    "MUSTER_PAIR_LEASE_SECONDS": "2",
    "MUSTER_PAIR_HOURLY_BUDGET": "1000",
    "MUSTER_STORIES_PARALLEL": "2",
    "MUSTER_LANES": "2",
    "MUSTER_CLIENTS_AT_ONCE": "1",
}


async def plant(field: Field) -> int:
    """Two clients with their profiles, and the pairs: three sessions misbehave, two proxies are dead."""
    proxies = field.simulator.pairs()["proxies"]
    sessions = [*SESSIONS, *(f"s{n}" for n in range(PAIRS))]
    await field.book.pairs.put(
        [
            a_pair(it["address"], f"{session}-{TOPSECRET}", username="user", password=f"pw-{TOPSECRET}")
            for it, session in zip(proxies, sessions, strict=False)
        ]
    )
    for client in CLIENTS:
        await field.book.clients.put([{"id": client, "profiles_limit": PROFILES}])
        rows = [{"client_id": client, "platform": "instagram", "handle": f"{client}{n}"} for n in range(PROFILES)]
        await field.book.profiles.put([{**row, "url": None, "data": {}} for row in rows])
    return await open_run(field.book, field.settings, Wanted("stories", "test", Mode.NORMAL, ("stories",)))


async def closed(field: Field) -> int:
    return sum(it["succeeded"] for it in await field.batches())


async def both_begun(field: Field) -> bool:
    return len({it["driver"] for it in await field.batches() if it["driver"]}) == 2


async def test_every_profile_ends_with_a_true_result_and_no_pair_is_used_by_two_or_too_soon(
    database_url: str, tmp_path: Path
):
    simulated = ("--proxies", str(PAIRS), "--dead-proxies", str(DEAD))
    async with a_field(database_url, tmp_path, latency_ms=10, simulated=simulated, **ENVIRON) as field:
        await plant(field)
        killed, _ = field.drive(), field.drive()
        await field.until(lambda: both_begun(field))
        await field.until(lambda: more_than(field, 60))
        field.kill(killed)
        await field.is_over(90)

        await check_results(field)
        await check_pairs(field)
        check_spacing(field.simulator.pairs()["uses"])
        await check_secrets(field)


async def more_than(field: Field, n: int) -> bool:
    return await closed(field) > n


async def check_results(field: Field) -> None:
    assert {it["state"] for it in await field.batches()} == {BatchState.DONE}
    assert await closed(field) == PROFILES * len(CLIENTS)
    profiles = await field.book.database.read(lambda tx: tx.rows(select(PROFILE)))
    for it in profiles:
        assert it["active_story"] == has_story(0, it["handle"]), it["handle"]
        assert (it["total_checks"], it["total_detections"]) == (1, int(it["active_story"]))
        assert (it["last_story_detected"] is not None) == it["active_story"]
    assert sum(it["gained"] for it in await field.batches()) == sum(it["active_story"] for it in profiles)
    attempts = [it for batch in await field.batches() for it in await field.book.readings.attempts(batch["id"])]
    assert {it["error_kind"] for it in attempts} <= {"resource", "unknown_outcome"}


async def check_pairs(field: Field) -> None:
    rows = await field.book.pairs.all()
    assert [it["state"] for it in rows] == [ProxyState.ACTIVE] * (PAIRS - DEAD) + [ProxyState.DISABLED] * DEAD
    assert [it["session"] == SessionState.DISABLED for it in rows] == [n == 2 for n in range(PAIRS)]
    assert [it["cooldown_until"] is not None for it in rows] == [n < 2 for n in range(PAIRS)]
    await field.until(lambda: nobody_holds(field), 5)


async def nobody_holds(field: Field) -> bool:
    """No lease is left, but one of the process that was killed, which has run out."""
    now = await field.book.readings.now()
    held = select(PROXY.c.leased_until).where(PROXY.c.holder.is_not(None), PROXY.c.leased_until > now)
    return not await field.book.database.read(lambda tx: tx.rows(held))


def check_spacing(uses: list[dict[str, Any]]) -> None:
    """By the proxies' own log: one check after the other, each a good while after the one before."""
    by_proxy = defaultdict(list)
    for use in uses:
        by_proxy[use["proxy"]].append(use)
    assert len(by_proxy) == PAIRS - DEAD
    for mine in by_proxy.values():
        for one, next_ in pairwise(sorted(mine, key=lambda it: it["began"])):
            assert one["ended"] is not None
            assert one["ended"] <= next_["began"] + 0.01
            if one["profile"] not in {"", next_["profile"]} or next_["profile"] == "":
                assert next_["began"] - one["ended"] >= SPACING_S - 0.02, (one, next_)


async def check_secrets(field: Field) -> None:
    """Nothing that anybody may read holds a credential, a session or a proxy's address."""
    kept: list[Any] = [dict(it) for it in await field.batches()]
    for batch in await field.batches():
        kept += await field.book.readings.events(batch["id"], 10_000)
        kept += await field.book.readings.attempts(batch["id"], 10_000)
        kept += [dict(it) async for it in field.book.readings.items(batch["id"])]
    said = str(kept)
    assert TOPSECRET not in said + str([dict(it) for it in await field.book.pairs.all()])
    assert not [it["address"] for it in field.simulator.pairs()["proxies"] if it["address"] in said]
