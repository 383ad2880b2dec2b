"""Articles whose process is killed in the middle: what was paid for is kept, and every folder is whole."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muster.ledger.database import Row
from muster.states import ItemState
from tests.entrypoints.conftest import SCRIPT, in_ledger
from tests.flows.simulated import Simulator, simulator

KEYWORDS = [*(f"keyword {n}" for n in range(9)), "A?", "a!", "../../etc/passwd"]
PARALLEL = 3
UPSTREAMS = ("tavily", "openai")
FILES = {"index.html", "article.md", "research.json"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A stand-in that takes its time, and a ledger that soon gives up on the dead."""
    with simulator(300, "--latency-of", "tavily=150") as sim:
        for name, value in {**sim.environ, "MUSTER_STALE_SECONDS": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield sim


def begun(*words: str) -> "subprocess.Popen[str]":
    command = [*SCRIPT, "articles", *words, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")  # noqa: S603


def killed_when(it: Callable[[], bool], *words: str) -> None:
    """Begin a batch, and kill its process once something is so."""
    with begun(*words) as child:
        end = time.monotonic() + 40
        while not it():
            assert time.monotonic() < end
            assert child.poll() is None, child.stderr and child.stderr.read()
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)


def items() -> dict[str, Row]:
    async def read(book: Any) -> dict[str, Row]:
        return {it["key"]: it async for it in book.readings.items(1)}

    return in_ledger(read)


def check_calls(site: Simulator, before: dict[str, Row]) -> None:
    """No more is bought twice than was in flight at the kill, and nothing that was settled."""
    repeated = 0
    for upstream in UPSTREAMS:
        calls = site.calls(upstream)
        assert set(calls) == set(KEYWORDS)
        for keyword in (it for it, n in calls.items() if n > 1):
            assert before[keyword]["state"] == ItemState.RUNNING
        repeated += calls.total() - len(KEYWORDS)
    assert repeated <= PARALLEL


def check_folders(folder: Path) -> None:
    """A whole folder for each keyword, and nothing else."""
    there = [it for it in folder.iterdir() if it.is_dir()]
    assert len(there) == len(KEYWORDS)
    assert {frozenset(it.name for it in path.iterdir()) for path in there} == {frozenset(FILES)}
    assert {json.loads((path / "research.json").read_text())["keyword"] for path in there} == set(KEYWORDS)
    assert sorted(it.name for it in folder.iterdir() if not it.is_dir()) == ["manifest-1.json", "manifest.json"]
    manifest = json.loads((folder / "manifest-1.json").read_text())
    assert {it["state"] for it in manifest["keywords"]} == {ItemState.SUCCEEDED}
    assert {it["folder"] for it in manifest["keywords"]} == {it.name for it in there}


@pytest.mark.parametrize(("upstream", "calls"), [("tavily", 1), ("openai", 2), ("tavily", 5), ("openai", 8)])
def test_a_kill_in_the_middle_repeats_only_what_was_in_flight(
    site: Simulator, tmp_path: Path, upstream: str, calls: int
):
    def is_time() -> bool:
        return site.calls(upstream).total() >= calls

    killed_when(is_time, *KEYWORDS, "--parallel", str(PARALLEL))
    before = items()

    with begun(*KEYWORDS, "--parallel", str(PARALLEL), "--resume") as resumed:
        out, err = resumed.communicate(timeout=60)

    assert resumed.returncode == 0, err
    assert json.loads(out)["succeeded"] == len(KEYWORDS)
    check_calls(site, before)
    check_folders(tmp_path / "drafts")


def test_kill_after_kill_ends_with_whole_folders(site: Simulator, tmp_path: Path):
    words = (*KEYWORDS, "--parallel", str(PARALLEL))
    for at, calls in enumerate((2, 5, 9)):
        more = ("--resume",) if at else ()
        killed_when(lambda calls=calls: site.calls("openai").total() >= calls, *words, *more)  # type: ignore[misc]

    with begun(*words, "--resume") as resumed:
        _, err = resumed.communicate(timeout=60)

    assert resumed.returncode == 0, err
    assert sum(site.calls(it).total() for it in UPSTREAMS) <= len(UPSTREAMS) * len(KEYWORDS) + 3 * PARALLEL
    check_folders(tmp_path / "drafts")


def test_two_that_resume_at_once_buy_nothing_twice(site: Simulator, tmp_path: Path):
    words = (*KEYWORDS, "--parallel", str(PARALLEL))
    killed_when(lambda: site.calls("openai").total() >= 2, *words)
    before = items()

    with begun("--resume", "--batch", "1") as one, begun(*words, "--resume") as two:
        ends = [it.communicate(timeout=60) for it in (one, two)]

    assert [one.returncode, two.returncode] == [0, 0], ends
    check_calls(site, before)
    check_folders(tmp_path / "drafts")
