"""The flow `stories`: a run of one client's story checks, narrowed to a niche."""

import pytest

from flows.stories import stories
from muster.ledger import Book
from tests.drain import a_pair
from tests.flows.simulated import a_client, simulator

pytestmark = pytest.mark.usefixtures("prefect_api")


async def test_a_niche_is_checked_through_real_proxies(ledger: Book, monkeypatch: pytest.MonkeyPatch):
    with simulator(0, "--proxies", "2") as sim:
        for name, value in {**sim.environ, "MUSTER_PAIR_SPACING_SECONDS": "0"}.items():
            monkeypatch.setenv(name, value)
        await a_client(ledger, "acme", [])
        rows = [{"client_id": "acme", "platform": "instagram", "handle": f"p{n}"} for n in range(6)]
        niches = [{**row, "niche": "travel" if n < 4 else None} for n, row in enumerate(rows)]
        await ledger.profiles.put([{**row, "url": None, "data": {}} for row in niches])
        await ledger.pairs.put([a_pair(it["address"], f"s{at}") for at, it in enumerate(sim.pairs()["proxies"])])

        state = await stories(client="acme", niche="travel", return_state=True)

        assert state.is_completed()
        (batch,) = await state.aresult()
        assert (batch["workload"], batch["state"], batch["total"]) == ("stories", "done", 4)
        assert {it["profile"] for it in sim.pairs()["uses"]} <= {"", "p0", "p1", "p2", "p3"}
