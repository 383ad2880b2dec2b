"""The flow `articles`: keywords from its form and from a file, worked as the flow `client`."""

import json
from pathlib import Path

import pytest

from flows.articles import articles
from muster.ledger import Book
from tests.flows.simulated import Simulator

pytestmark = pytest.mark.usefixtures("prefect_api")


async def test_keywords_and_a_file_become_folders_with_a_manifest(ledger: Book, sim: Simulator, tmp_path: Path):
    file, drafts = tmp_path / "words.txt", tmp_path / "drafts"
    file.write_text("two\nthree\n")

    state = await articles(keywords=["one"], file=str(file), parallel=2, output_dir=str(drafts), return_state=True)

    assert state.is_completed()
    summary = await state.aresult()
    assert (summary["state"], summary["succeeded"]) == ("done", 3)
    assert sorted(it["folder"] for it in json.loads((drafts / "manifest-1.json").read_text())["keywords"]) == [
        "one", "three", "two",
    ]  # fmt: skip
    assert sim.most_in_flight("openai") <= 2


async def test_a_failure_fails_the_flow_and_the_manifest_is_there(ledger: Book, sim: Simulator, tmp_path: Path):
    state = await articles(keywords=["sim-reject", "two"], output_dir=str(tmp_path), return_state=True)

    assert state.is_failed()
    assert "stopped at the first failure" in str(state.message)
    assert json.loads((tmp_path / "manifest-1.json").read_text())["failed"] == 1
    assert sim.calls("openai").total() == 0
