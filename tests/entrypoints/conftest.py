"""The command as a terminal meets it: in this process through `main`, and as a process of its own."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from entrypoints.cli import main
from muster.ledger import Book
from muster.settings import Settings
from tests.flows.simulated import Simulator, simulator

SCRIPT = (sys.executable, "-c", "from entrypoints.cli import main; main()")
T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Muster(Protocol):
    def __call__(self, *words: str) -> Said: ...


@pytest.fixture
def muster(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Muster:
    """Run the command in this process."""

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["muster", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = Said(int(str(ended.value.code)), *capfd.readouterr())
        assert "Traceback" not in said.out + said.err
        return said

    return run


def muster_process(*words: str, **environ: str) -> Said:
    """Run the command in a process of its own."""
    ended = subprocess.run(  # noqa: S603
        [*SCRIPT, *words], env=os.environ | environ, capture_output=True, encoding="utf-8", timeout=50, check=False
    )
    assert "Traceback" not in ended.stderr
    return Said(ended.returncode, ended.stdout, ended.stderr)


def in_ledger(work: Callable[[Book], Awaitable[T]]) -> T:
    """Do something in the ledger that the command will open."""

    async def opened() -> T:
        async with Book(Settings.read().ledger_url) as book:
            await book.upgrade()
            return await work(book)

    return asyncio.run(opened())


@pytest.fixture
def two_clients(muster: Muster, tmp_path: Path) -> None:
    """`acme` with six profiles, and `birch`, paused, with one."""
    clients, profiles = tmp_path / "clients.csv", tmp_path / "profiles.csv"
    clients.write_text("id,name,state,service_level,posts_target\nacme,Acme,,2,5\nbirch,Birch,paused,3,\n")
    handles = [f"acme,h{n},https://www.linkedin.com/in/h{n},Head of {n}" for n in range(6)]
    profiles.write_text(
        "\n".join(["client_id,handle,url,headline", *handles, "birch,b,https://www.linkedin.com/in/b,B"])
    )
    assert muster("clients", "import", str(clients)).out == "2 clients imported.\n"
    assert muster("profiles", "import", str(profiles)).out == "7 profiles imported.\n"


@pytest.fixture(scope="session")
def upstreams() -> Iterator[Simulator]:
    with simulator() as started:
        yield started


@pytest.fixture
def simulated(upstreams: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """The upstreams' stand-in, in the environment and with nothing counted yet."""
    upstreams.reset()
    for name, value in upstreams.environ.items():
        monkeypatch.setenv(name, value)
    return upstreams
