"""One Prefect server for all flow tests, a simulator and a ledger for each."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.flows.simulated import Simulator, simulator

_home: Final = tempfile.TemporaryDirectory(prefix="muster-prefect-", ignore_cleanup_errors=True)
os.environ |= {  # Prefect reads its settings when it is imported
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_HOME": _home.name,
    # Written one by one, events lock the server's SQLite so often that every other call is put off by 2 s.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
}

from prefect.settings import PREFECT_API_URL  # noqa: E402
from prefect.testing.utilities import prefect_test_harness  # noqa: E402

from muster.ledger import Book  # noqa: E402
from muster.settings import Settings  # noqa: E402
from muster.wiring import open_book  # noqa: E402
from tests.invariants import check_ledger  # noqa: E402

Simulate = Callable[..., Simulator]


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """The address of the one Prefect server that flow tests share."""
    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


@pytest.fixture
def simulate(clean_environ: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulate]:
    """Starts a simulator with a latency, and sends every call of this test to it."""
    with ExitStack() as stack:

        def start(latency_ms: float = 0) -> Simulator:
            started = stack.enter_context(simulator(latency_ms))
            for name, value in started.environ.items():
                monkeypatch.setenv(name, value)
            return started

        yield start


@pytest.fixture
def sim(simulate: Simulate) -> Simulator:
    """A simulator that answers at once."""
    return simulate()


@pytest.fixture
async def ledger(clean_environ: None) -> AsyncIterator[Book]:
    """The ledger that the flows open by themselves; at the end its counters must equal its rows."""
    async with open_book(Settings.read()) as book:
        yield book
        await check_ledger(book)
