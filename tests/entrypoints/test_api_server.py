"""`muster serve` as a process: what it works is given back cleanly when it is asked to end, and goes on in the next."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from muster.ledger import Book
from tests.entrypoints.conftest import SCRIPT, Muster, in_ledger
from tests.flows.simulated import Simulator, a_client, handles, simulator


@pytest.fixture(scope="module")
def slow() -> Iterator[Simulator]:
    with simulator(200) as started:
        yield started


@dataclass
class Server:
    """A process, and what it said once it has ended."""

    process: "subprocess.Popen[str]"
    address: str
    told: str = ""

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=30)
        self.told += out + err
        return self.process.returncode


@contextmanager
def serving(environ: dict[str, str], *words: str) -> Iterator[Server]:
    command = [*SCRIPT, "serve", "--port", "0", *words]
    with subprocess.Popen(  # noqa: S603
        command, env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Server(process, process.stdout.readline().split()[-1])
        finally:
            process.kill()


def test_what_is_open_when_the_server_ends_is_released_and_the_next_one_goes_on(slow: Simulator):
    in_ledger(lambda book: a_client(book, "acme", handles(60)))
    environ = {**slow.environ, "MUSTER_LANES": "1", "MUSTER_IN_FLIGHT": "4"}

    with serving(environ) as server, httpx.Client(base_url=server.address, trust_env=False) as me:
        batch = me.post("/batches", json={"client": "acme", "workload": "profiles"}).json()["id"]
        assert me.post(f"/batches/{batch}/start").status_code == 202
        _until(lambda: me.get(f"/batches/{batch}").json()["succeeded"] > 0)
        assert me.get("/healthz").json() == {"status": "ok", "drivers": 1}
        with me.stream("GET", f"/batches/{batch}/stream") as stream:
            next(stream.iter_lines())
            began = time.monotonic()
            assert server.end() == 0
            assert time.monotonic() - began < 12
    assert "Traceback" not in server.told
    row = in_ledger(lambda book: book.readings.batch(batch))
    assert (row["state"], row["held"], row["driver"], row["fruitless"]) == ("queued", False, None, 0)
    assert 0 < row["succeeded"] < 60
    assert in_ledger(lambda book: book.readings.count_by_state(batch)).keys() == {"pending", "succeeded"}
    assert in_ledger(_drivers) == 0

    with serving(environ) as server, httpx.Client(base_url=server.address, trust_env=False) as me:
        _until(lambda: me.get(f"/batches/{batch}").json()["state"] == "done")
        assert server.end() == 0
    calls = slow.calls("openai")
    assert (len(calls), set(calls.values())) == (60, {1})


def test_a_port_that_is_taken_is_said_in_one_sentence(muster: Muster):
    with serving({}) as server:
        said = muster("serve", "--port", server.address.rpartition(":")[2])
        assert server.end() == 0

    assert said.code == 3
    assert "Error: Cannot listen on 127.0.0.1:" in said.err
    assert "No token was made yet: only this machine is answered." in server.told


async def _drivers(book: Book) -> int:
    return len(await book.drivers.alive())


def _until(look: object, seconds: float = 25) -> None:
    ends = time.monotonic() + seconds
    while not look():  # type: ignore[operator]
        assert time.monotonic() < ends
        asyncio.run(asyncio.sleep(0.1))
