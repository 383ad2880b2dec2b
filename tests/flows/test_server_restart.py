"""Prefect's server goes away in the middle of a batch, and comes back: the work goes on."""

import asyncio
import os
import sys
from pathlib import Path

from deployments.check import ROOT
from entrypoints.cli.prefect import free_port
from muster.ledger import Book
from tests.flows.conftest import Simulate
from tests.flows.simulated import a_client, handles
from tests.flows.test_server import PREFECT, QUICK, process, seen, wait_for_answer

FLOW = "import asyncio; from flows.nightly import nightly; asyncio.run(nightly(key='k', workloads=['profiles']))"


async def test_a_prefect_server_that_restarts_stops_no_batch(ledger: Book, simulate: Simulate, tmp_path: Path):
    simulate(200)
    await a_client(ledger, "acme", handles(200), profiles_limit=200)
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environ = {
        **os.environ,
        **QUICK,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": api,
        "MUSTER_IN_FLIGHT": "2",
        "MUSTER_LANES": "1",
    }
    server = (*PREFECT, "server", "start", "--port", str(port), "--no-ui")
    with process(tmp_path / "one.log", environ, *server) as first:
        wait_for_answer(f"{api}/health")
        flow = await asyncio.create_subprocess_exec(sys.executable, "-c", FLOW, cwd=ROOT, env=environ)
        before = await seen(ledger, lambda batch: batch["succeeded"] > 10)
        first.kill()
    await asyncio.sleep(3)
    with process(tmp_path / "two.log", environ, *server):
        wait_for_answer(f"{api}/health")
        over = await seen(ledger, lambda batch: batch["state"] == "done", 150)
    flow.kill()  # Prefect's own client may go on for minutes to tell what the first server did not hear
    await flow.wait()

    assert (over["succeeded"], over["driver_runs"]) == (200, before["driver_runs"])
