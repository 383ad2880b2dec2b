"""The whole of it as an operator has it: a Prefect server, `muster deploy`, a schedule, a worker."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from deployments.check import ROOT
from entrypoints.cli.prefect import free_port
from muster.ledger import Book
from tests.flows.conftest import Simulate
from tests.flows.simulated import a_client, handles, items_of, states

PREFECT: Final = ("-m", "prefect")
MUSTER: Final = ("-c", "from entrypoints.cli import main; main()")
MOST_S: Final = 150  # by the deployment's schedule alone
QUICK: Final = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
}


@contextmanager
def process(log: Path, environ: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that goes on beside the test, told to end when it is over."""
    with (
        log.open("wb") as file,
        subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environ, stdout=file, stderr=file) as child,  # noqa: S603
    ):
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()


async def ended(environ: Mapping[str, str], *arguments: str) -> str:
    """What a Python process said that must end well."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(child.communicate(), 120)
    assert child.returncode == 0, said.decode()[-3000:]
    return said.decode()


def wait_for_answer(url: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < end, f"{url} does not answer"
            time.sleep(0.2)
        else:
            return


@pytest.fixture
def server(simulate: Simulate, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect server with a state of its own; the environment of whoever works with it."""
    simulate(100)
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environ = {**os.environ, **QUICK, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": api}
    with process(tmp_path / "server.log", environ, *PREFECT, "server", "start", "--port", str(port), "--no-ui"):
        wait_for_answer(f"{api}/health")
        yield environ


async def scheduled_runs(api: str, deployment: str, seconds: float = 30) -> list[dict[str, Any]]:
    """The runs that the server's scheduler made for a deployment."""
    scheduled = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    wanted = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": scheduled}
    async with httpx.AsyncClient(base_url=api, trust_env=False) as client, asyncio.timeout(seconds):
        while True:
            answer = await client.post("/flow_runs/filter", json=wanted)
            if found := answer.raise_for_status().json():
                return list(found)
            await asyncio.sleep(0.2)


async def test_deployed_flows_are_scheduled_and_run_by_a_worker(ledger: Book, server: dict[str, str], tmp_path: Path):
    await a_client(ledger, "acme", handles(7))
    await a_client(ledger, "birch", handles(7))
    first = await ended(server, *MUSTER, "deploy")
    again = await ended(server, *MUSTER, "deploy")

    assert "work pool muster: created" in first
    assert "limit tag:muster-plan: created at 2" in first
    assert "work pool muster: there" in again
    assert "created" not in again

    runs = await scheduled_runs(server["PREFECT_API_URL"], "nightly")
    assert {run["auto_scheduled"] for run in runs} == {True}
    assert all("T03:00:00" in run["expected_start_time"] for run in runs)

    with process(tmp_path / "worker.log", server, *PREFECT, "worker", "start", "--pool", "muster"):
        await asyncio.gather(
            ended(server, *run_now("nightly/nightly", mode="testing", key="tonight", clients='["birch"]')),
            ended(server, *run_now("client/client", client="acme", workloads='["profiles"]')),
        )

    tonight = await items_of(ledger, "tonight")
    assert states([it for it in tonight if it["workload"] == "profiles"]).total() == 5
    assert {it["state"] for it in tonight} <= {"succeeded", "skipped"}
    batches = await ledger.readings.batches_since(datetime.fromtimestamp(0, UTC))
    assert {it["state"] for it in batches} == {"done"}
    (alone,) = [it for it in batches if it["client_id"] == "acme"]
    assert alone["run_key"].startswith("client:acme:")
    assert (alone["workload"], alone["succeeded"]) == ("profiles", 7)


def run_now(deployment: str, **parameters: str) -> list[str]:
    told = [part for name, value in parameters.items() for part in ("--param", f"{name}={value}")]
    return [*PREFECT, "deployment", "run", deployment, *told, "--watch"]


async def test_when_a_driver_is_killed_its_batch_is_worked_to_its_end_with_nobody_looking(
    ledger: Book, server: dict[str, str], tmp_path: Path
):
    await a_client(ledger, "acme", handles(300), profiles_limit=300)
    environ = {**server, "MUSTER_IN_FLIGHT": "2", "MUSTER_LANES": "2"}
    assert "automation muster: a driver crashed: created" in await ended(environ, *MUSTER, "deploy")
    with process(tmp_path / "worker.log", environ, *PREFECT, "worker", "start", "--pool", "muster"):
        start = [part for part in run_now("nightly/nightly", key="k", workloads='["profiles"]') if part != "--watch"]
        await ended(environ, *start)
        batch = await seen(ledger, lambda batch: batch["succeeded"] > 20)

        os.kill(int(batch["driver"].rpartition(":")[2]), signal.SIGKILL)

        taken = await seen(ledger, lambda now: now["driver_runs"] > batch["driver_runs"], MOST_S)
        assert taken["epoch"] > batch["epoch"]
        over = await seen(ledger, lambda batch: batch["state"] == "done")

    assert (over["total"], over["succeeded"]) == (300, 300)
    assert (await ledger.readings.count_by_state(over["id"])) == {"succeeded": 300}


async def seen(book: Book, look: Callable[[Mapping[str, Any]], bool], seconds: float = 90) -> Mapping[str, Any]:
    """The run's only batch, as soon as it is as wanted."""
    async with asyncio.timeout(seconds):
        while True:
            for batch in await book.readings.batches_of_key("k"):
                if look(batch):
                    return batch
            await asyncio.sleep(0.2)
