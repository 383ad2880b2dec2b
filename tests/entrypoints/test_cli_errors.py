"""What is wrong with the environment is one sentence on standard error and exit code 3, and no password is in it."""

import socket
from pathlib import Path

import pytest

from tests.entrypoints.conftest import Muster, muster_process

PASSWORD = "geheim-4711"


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def the_sentence(err: str) -> str:
    (line,) = err.strip().split("\n")
    assert line.startswith("Error: ")
    assert line.endswith(".")
    return line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MUSTER_TIMEZONE", "Mars"),
        ("MUSTER_ENV", "prod"),
        ("MUSTER_LANES", "0"),
        ("MUSTER_DATABASE_URL", f"mysql://me:{PASSWORD}@db/muster"),
        ("MUSTER_DATABASE_URL", f"postgresql://me:{PASSWORD}@db:99999/muster"),
    ],
)
@pytest.mark.parametrize(
    "words", [("batches",), ("run", "profiles"), ("clients", "list"), ("db", "upgrade"), ("demo",)]
)
def test_a_wrong_setting_is_named_by_every_command(
    muster: Muster, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], name: str, value: str
):
    monkeypatch.setenv(name, value)
    said = muster(*words)
    assert said.code == 3
    assert the_sentence(said.err).startswith(f"Error: {name}: ")
    assert PASSWORD not in said.err + said.out


@pytest.mark.parametrize("words", [("batches",), ("db", "upgrade"), ("run", "profiles")])
def test_a_database_that_does_not_answer_is_named_without_its_password(
    muster: Muster, monkeypatch: pytest.MonkeyPatch, closed_port: int, words: tuple[str, ...]
):
    monkeypatch.setenv("MUSTER_DATABASE_URL", f"postgresql://me:{PASSWORD}@127.0.0.1:{closed_port}/muster")
    said = muster(*words)
    assert said.code == 3
    assert f"127.0.0.1:{closed_port}/muster" in the_sentence(said.err)
    assert PASSWORD not in said.err + said.out


def test_a_ledger_that_is_a_folder_or_no_database_is_named(
    muster: Muster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    text = tmp_path / "text.db"
    text.write_text("This is no database, whatever its name says. " * 50)
    for place, why in ((tmp_path, "unable to open"), (text, "not a database")):
        monkeypatch.setenv("MUSTER_DATABASE_URL", f"sqlite:///{place}")
        said = muster("batches")
        assert said.code == 3
        assert str(place) in the_sentence(said.err)
        assert why in said.err


def test_a_failed_connection_leaves_no_traceback_of_its_thread(tmp_path: Path):
    said = muster_process("batches", MUSTER_DATABASE_URL=f"sqlite:///{tmp_path}")
    assert said.code == 3
    the_sentence(said.err)


def test_a_ledger_in_an_impossible_place_is_a_matter_of_configuration(
    muster: Muster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("MUSTER_DATABASE_URL", f"sqlite:///{file}/below/muster.db")
    assert muster("batches").code == 3
    monkeypatch.delenv("MUSTER_DATABASE_URL")
    monkeypatch.setenv("MUSTER_HOME", str(file))
    said = muster("batches")
    assert said.code == 3
    assert "MUSTER_HOME" in the_sentence(said.err)


def test_prefects_api_that_does_not_answer_opens_no_run(
    muster: Muster, monkeypatch: pytest.MonkeyPatch, two_clients: None, closed_port: int
):
    monkeypatch.setenv("PREFECT_API_URL", f"http://me:{PASSWORD}@127.0.0.1:{closed_port}/api")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for words in (("run", "profiles"), ("deploy",)):
        said = muster(*words)
        assert said.code == 3
        assert "prefect server start" in the_sentence(said.err)
        assert PASSWORD not in said.err
    assert muster("batches", "--json").json == {"batches": []}


def test_deploying_to_nowhere_says_what_to_set(muster: Muster):
    said = muster("deploy")
    assert said.code == 3
    assert "PREFECT_API_URL is not set" in the_sentence(said.err)


@pytest.mark.parametrize(("workload", "key"), [("profiles", "OPENAI_API_KEY"), ("posts", "APIFY_TOKEN")])
def test_a_missing_key_is_named_before_anything_is_opened(muster: Muster, two_clients: None, workload: str, key: str):
    said = muster("run", workload)
    assert said.code == 3
    assert f"{key} (for {workload})" in the_sentence(said.err)
    assert muster("batches", "--json").json == {"batches": []}


def test_what_was_typed_wrongly_is_said_before_what_the_environment_lacks(muster: Muster, two_clients: None):
    for words, said in (
        (("profiles", "--client", "nope"), "no client 'nope'"),
        (("profiles", "--client", "[/]"), "no client '[/]'"),
        (("nope",), "no workload 'nope'; there are profiles, posts"),
    ):
        refused = muster("run", *words)
        assert refused.code == 2
        assert said in the_sentence(refused.err)


def test_testing_in_production_is_refused(muster: Muster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUSTER_ENV", "production")
    said = muster("run", "profiles", "--testing")
    assert said.code == 3
    assert "MUSTER_ALLOW_TESTING=true" in the_sentence(said.err)


def test_doctor_says_what_is_missing_and_what_is_well(
    muster: Muster, monkeypatch: pytest.MonkeyPatch, closed_port: int
):
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{PASSWORD}@127.0.0.1:{closed_port}/v1")
    monkeypatch.setenv("APIFY_BASE_URL", "ftp://nowhere")
    said = muster("doctor")
    assert said.code == 3
    for line in ("ok   ledger", "BAD  openai: OPENAI_API_KEY is not set", "BAD  apify: APIFY_BASE_URL is not"):
        assert line in said.out
    assert PASSWORD not in said.out + said.err


def test_doctor_answers_scripts_also_when_a_setting_is_wrong(muster: Muster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUSTER_TIMEZONE", "Mars")
    said = muster("doctor", "--json")
    assert said.code == 3
    assert said.json["ok"] is False
    assert "MUSTER_TIMEZONE" in said.json["findings"][0]["said"]


def test_db_upgrade_may_be_run_again(muster: Muster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MUSTER_DATABASE_URL", f"sqlite:///{tmp_path / 'own.db'}")
    said = muster("batches")
    assert said.code == 3
    assert "muster db upgrade" in the_sentence(said.err)
    first, second = muster("db", "upgrade"), muster("db", "upgrade")
    assert (first.code, second.code) == (0, 0)
    assert first.out == second.out
    assert muster("batches").code == 0
