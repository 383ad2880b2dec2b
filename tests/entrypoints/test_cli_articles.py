"""`muster articles`: the seed's tests of batch processing, each under its name, and its learning exercises."""

import csv
import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entrypoints.cli.app import app
from tests.entrypoints.conftest import SCRIPT, Muster, in_ledger, muster_process
from tests.flows.simulated import Simulator, simulator

OPTIONS = (
    "--from-file", "--parallel", "--dry-run", "--plan", "--continue-on-error", "--output-dir", "--csv", "--resume",
    "--batch", "--client", "--no-progress", "--json",
)  # fmt: skip
SECRET = "sim-topsecret-key"


@pytest.fixture
def drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder, in a place of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "drafts"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A stand-in whose articles take a while, and its research a tenth of that."""
    with simulator(600, "--latency-of", "tavily=60", "--latency-spread", "0") as started:
        for name, value in started.environ.items():
            monkeypatch.setenv(name, value)
        yield started


def folders(drafts: Path) -> list[str]:
    return sorted(it.name for it in drafts.iterdir() if it.is_dir())


def test_batch_command_no_keywords(muster: Muster, simulated: Simulator):
    said = muster("articles")

    assert said.code == 2
    assert "Usage:" in said.err
    assert "KEYWORD" in said.err


def test_batch_command_help():
    said = CliRunner().invoke(app, ["articles", "--help"], terminal_width=200)

    assert said.exit_code == 0
    assert "Research a batch of keywords and write an article about each" in said.stdout
    assert all(option in said.stdout for option in OPTIONS)
    assert 'muster articles "solar roofs" "heat pumps"' in said.stdout
    assert "130 interrupted" in said.stdout


def test_batch_generation_sequential(muster: Muster, simulated: Simulator, drafts: Path):
    keywords = ["zebra", "apple", "mango", "banana"]

    said = muster("articles", *keywords, "--json")

    assert said.code == 0
    assert [it["keyword"] for it in said.json["keywords"]] == keywords
    assert simulated.order("tavily") == simulated.order("openai") == keywords
    assert simulated.most_in_flight("tavily") == simulated.most_in_flight("openai") == 1
    assert folders(drafts) == sorted(keywords)


def test_batch_generation_parallel(muster: Muster, slow: Simulator, drafts: Path):
    said = muster("articles", *"abcdefg", "--parallel", "3")

    assert said.code == 0
    assert slow.most_in_flight("openai") == 3
    assert slow.most_in_flight("tavily") <= 3
    assert sum(slow.calls("openai").values()) == 7


def test_batch_generation_dry_run(muster: Muster, simulated: Simulator, drafts: Path):
    said = muster("articles", "one", "two", "three", "--dry-run", "--parallel", "2", "--json")

    assert said.code == 0
    assert set(simulated.calls("tavily")) == {"one", "two", "three"}
    assert simulated.calls("openai").total() == 0
    assert [it["sources"] for it in said.json["keywords"]] == [10, 10, 10]
    assert all(not (drafts / name / "article.md").exists() for name in folders(drafts))
    assert json.loads((drafts / "one" / "research.json").read_text())["sources"]


def test_batch_generation_continue_on_error(muster: Muster, simulated: Simulator, drafts: Path):
    said = muster("articles", "one", "sim-reject", "two", "sim-refusal", "three", "--continue-on-error")

    assert said.code == 0  # all are closed; without --continue-on-error it were 1
    assert folders(drafts) == ["one", "three", "two"]
    assert "3 of 5 written, 2 failed" in said.out
    assert "tavily answered 400" in said.out
    assert "model declined" in said.out


def test_batch_generation_fail_fast(muster: Muster, simulated: Simulator, drafts: Path):
    said = muster("articles", "one", "sim-reject", "two", "three", "--json")

    assert said.code == 1
    assert set(simulated.calls("tavily")) == {"one", "sim-reject"}
    assert folders(drafts) == ["one"]  # partial results are kept
    assert [it["state"] for it in said.json["keywords"]] == ["succeeded", "failed", "pending", "pending"]
    assert "'sim-reject'" in said.json["reason"]


def test_what_is_in_flight_at_the_first_failure_is_kept(muster: Muster, slow: Simulator, drafts: Path):
    said = muster("articles", "sim-reject", *"abcdef", "--parallel", "3", "--json")

    assert said.code == 1
    assert set(slow.calls("tavily")) == {"sim-reject", "a", "b"}
    assert folders(drafts) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("words.txt", "one\ntwo words\n\n"),
        ("words.csv", 'note,keyword\nx,one\n"y, z",two words\n'),
        ("words.jsonl", '"one"\n{"keyword": "two words", "more": 1}\n'),
    ],
)
def test_keywords_are_read_from_a_file(muster: Muster, simulated: Simulator, drafts: Path, name: str, text: str):
    (drafts.parent / name).write_text(text)

    said = muster("articles", "zero", "--from-file", name, "--from-file", name, "--dry-run", "--json")

    assert [it["keyword"] for it in said.json["keywords"]] == ["zero", "one", "two words"]
    assert "'one' is the same as" in said.err


@pytest.mark.parametrize("text", ["one\ntwo", "keyword\none\ntwo", '{"keyword":"one"}\n"two"\n'])
def test_keywords_are_read_from_standard_input(simulated: Simulator, drafts: Path, text: str):
    words = [*SCRIPT, "articles", "--from-file", "-", "--dry-run", "--json"]
    ended = subprocess.run(words, input=text, capture_output=True, encoding="utf-8", timeout=50, check=False)  # noqa: S603

    assert ended.returncode == 0, ended.stderr
    assert [it["keyword"] for it in json.loads(ended.stdout)["keywords"]] == ["one", "two"]


def test_bad_keywords_are_named_with_their_lines_and_nothing_is_called(
    muster: Muster, simulated: Simulator, drafts: Path
):
    (drafts.parent / "words.txt").write_text(f"fine\n  \n{'x' * 201}\n{'y' * 200}\n")

    said = muster("articles", "", "--from-file", "words.txt")

    assert said.code == 2
    assert "keyword 1: is empty" in said.err
    assert "words.txt, line 2: is empty" in said.err
    assert "words.txt, line 3: has 201 letters, and may have 200" in said.err
    assert "line 4" not in said.err
    assert simulated.calls("tavily").total() == 0


@pytest.mark.parametrize("told", ["0", "-1", "x", "1001", "9" * 30])
def test_a_number_that_is_none_is_refused(muster: Muster, simulated: Simulator, drafts: Path, told: str):
    said = muster("articles", "one", f"--parallel={told}")

    assert said.code == 2
    assert "--parallel" in said.err


def test_auto_takes_the_least_of_half_a_limit_the_cores_and_5(muster: Muster, simulated: Simulator, drafts: Path):
    muster("limits", "set", "openai", "--per-minute", "3")

    said = muster("articles", "one", "two", "--parallel", "auto", "--plan")

    assert "--parallel auto is 1: half of openai's 3 calls a minute." in said.err
    assert "Warning: 6 keywords at once" in muster("articles", "one", "--parallel", "6", "--plan").err


def test_a_plan_calls_nothing_and_says_what_it_would_cost(muster: Muster, simulated: Simulator, drafts: Path):
    said = muster("articles", "one", "two", "three", "--parallel", "2", "--plan", "--json")

    assert said.code == 0
    assert said.json["calls"] == {"tavily": 3, "openai": 3}
    assert (said.json["items"], said.json["seconds"]) == (3, 60)
    assert said.json["cost_micros"] > 3 * 8000
    assert simulated.calls("tavily").total() == 0
    assert not drafts.exists()
    assert muster("batches", "--json").json == {"batches": []}


def test_results_are_exported_as_csv_that_no_spreadsheet_runs(muster: Muster, simulated: Simulator, drafts: Path):
    evil = "=cmd|' /C calc'!A0"

    said = muster("articles", evil, "plain", "--csv", "results.csv")

    assert said.code == 0
    rows = list(csv.DictReader((drafts.parent / "results.csv").read_text().splitlines()))
    assert [it["keyword"] for it in rows] == [f"'{evil}", "plain"]
    assert [it["state"] for it in rows] == ["succeeded", "succeeded"]


def test_the_manifest_holds_every_keyword_with_checksums(muster: Muster, simulated: Simulator, drafts: Path):
    said = muster("articles", "one", "sim-empty", "two", "--json")

    manifest = json.loads((drafts / "manifest.json").read_text())
    assert manifest == json.loads(Path(said.json["manifest"]).read_text())
    assert [it["state"] for it in manifest["keywords"]] == ["succeeded", "failed", "pending"]
    one = manifest["keywords"][0]
    assert set(one["files"]) == {"index.html", "article.md", "research.json"}
    for name, checksum in one["files"].items():
        assert hashlib.sha256((drafts / one["folder"] / name).read_bytes()).hexdigest() == checksum
    assert manifest["cost_micros"] == one["cost_micros"] + 8000  # a search without a result is paid for too
    assert "No source was found" in manifest["keywords"][1]["error"]


def test_failed_keywords_are_tried_again_and_nothing_is_paid_for_twice(
    muster: Muster, simulated: Simulator, drafts: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ("articles", "one", "two", "three")
    monkeypatch.setenv("MUSTER_TRIES", "1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    failed = muster(*words)
    monkeypatch.setenv("OPENAI_BASE_URL", simulated.environ["OPENAI_BASE_URL"])
    assert failed.code == 1
    assert "muster articles --resume --batch 1" in failed.out

    resumed = muster(*words, "--resume", "--json")

    assert resumed.code == 0
    assert simulated.calls("tavily") == simulated.calls("openai") == dict.fromkeys(("one", "two", "three"), 1)
    assert folders(drafts) == ["one", "three", "two"]
    assert resumed.json["batch"] == 1


def test_with_nothing_to_resume_it_says_so(muster: Muster, simulated: Simulator, drafts: Path):
    muster("articles", "one")

    for words in (("one", "--resume"), ("--resume", "--batch", "1"), ("two", "--resume"), ("--resume", "--batch", "9")):
        said = muster("articles", *words)
        assert said.code == 2, words
        assert "here is no" in said.err
        assert len(said.err.strip().splitlines()) == 1
    assert simulated.calls("tavily").total() == 1


@pytest.mark.parametrize("words", [("--batch", "1"), ("one", "--resume", "--batch", "1"), ("--resume",)])
def test_words_that_do_not_go_together_are_refused(muster: Muster, simulated: Simulator, words: tuple[str, ...]):
    assert muster("articles", *words).code == 2


def test_ctrl_c_finishes_what_is_in_flight_and_the_resume_command_goes_on(slow: Simulator, drafts: Path):
    words = [*SCRIPT, "articles", "one", "two", "three"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as child:  # noqa: S603
        while not slow.calls("openai"):
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "To go on: muster articles --resume --batch 1" in err.splitlines()[-1]
    assert folders(drafts) == ["one"]
    assert (drafts / "manifest.json").read_text() == (drafts / "manifest-1.json").read_text()

    resumed = muster_process("articles", "--resume", "--batch", "1")

    assert resumed.code == 0, resumed.err
    assert set(slow.calls("tavily").values()) == set(slow.calls("openai").values()) == {1}
    assert folders(drafts) == ["one", "three", "two"]


def test_a_second_ctrl_c_ends_it_at_once(slow: Simulator, drafts: Path):
    words = [*SCRIPT, "articles", "one sim-hang", "two"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as child:  # noqa: S603
        while not slow.calls("tavily"):
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        while "Ctrl+C again" not in child.stderr.readline():
            pass
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) == 130


def test_a_folder_that_cannot_be_written_is_one_sentence_before_anything_is_paid(
    muster: Muster, simulated: Simulator, drafts: Path
):
    drafts.write_text("no folder")

    said = muster("articles", "one")

    assert said.code == 2
    assert len(said.err.strip().splitlines()) == 1
    assert str(drafts) in said.err
    assert simulated.calls("tavily").total() == 0


def test_a_missing_key_is_named_before_anything_is_opened(
    muster: Muster, simulated: Simulator, drafts: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("TAVILY_API_KEY")

    said = muster("articles", "one")

    assert said.code == 3
    assert "TAVILY_API_KEY" in said.err
    assert muster("batches", "--json").json == {"batches": []}
    assert "TAVILY_API_KEY is not set; `muster articles` needs it" in muster("doctor").out


def test_a_run_and_a_night_have_no_articles(muster: Muster, simulated: Simulator, drafts: Path):
    assert "muster articles KEYWORD..." in muster("run", "articles").err
    muster("articles", "one")
    night = muster("trigger", "--json")

    assert night.code == 0
    assert [it["workload"] for it in night.json["batches"]] == []


def test_secrets_show_nowhere(
    muster: Muster, simulated: Simulator, drafts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TAVILY_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", f"sim-denied-{SECRET}")

    said = muster("articles", "one", "two")

    assert said.code == 1
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET not in said.out + said.err + muster("show", "1", "--json").out
    assert SECRET.encode() not in kept
    assert simulated.calls("tavily") == {"one": 1}  # denied once, nothing else is bought


def test_upstream_limits_are_those_of_everybody(muster: Muster, slow: Simulator, drafts: Path):
    """The second upstream's, which no item has as its own."""
    muster("limits", "set", "openai", "--concurrency", "2")

    said = muster("articles", *"abcdef", "--parallel", "6")

    assert said.code == 0
    assert slow.most_in_flight("openai") == 2
    rows = in_ledger(lambda book: book.upstreams.all())
    assert {it["name"]: it["in_flight"] for it in rows}["openai"] == 0


def test_progress_is_plain_lines_where_no_terminal_is(simulated: Simulator, drafts: Path):
    said = muster_process("articles", "one", "two", "--parallel", "2")

    assert "✔ one → one (" in said.err
    assert "2/2 100%" in said.err
    assert "elapsed" in said.err
    assert "\x1b" not in said.err
    silent = muster_process("articles", "three", "--no-progress")
    assert silent.err == ""
