"""The command explains itself, and a word typed wrongly is one clear sentence."""

import pytest
from typer.testing import CliRunner

from entrypoints.cli.app import app
from tests.entrypoints.conftest import Muster

COMMANDS = (
    "demo", "run", "articles", "trigger", "watch", "verify", "batches", "show", "export", "deploy", "doctor", "serve",
    "tokens", "simulate",
)  # fmt: skip


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_how_to_begin_and_what_exit_codes_mean(flag: str):
    said = CliRunner().invoke(app, [flag])
    assert said.exit_code == 0
    for example in ("muster demo", "muster clients import clients.csv", "muster run profiles posts --testing"):
        assert example in said.stdout
    assert "0 all items closed; 1 items remain open; 2 usage; 3 configuration" in said.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_sentence_in_the_overview(command: str):
    assert f"\n  {command} " in CliRunner().invoke(app, ["--help"]).stdout


@pytest.mark.parametrize(
    ("words", "example"),
    [
        (["run"], "muster run posts --client acme --json"),
        (["batches"], "muster batches --since 7d"),
        (["show"], "muster show 12 --json"),
        (["export"], "muster export 12 -o items.csv"),
        (["clients", "import"], "acme,Acme Ltd,2-Lead Scoring,50"),
        (["clients", "set"], "muster clients set acme state=paused"),
        (["profiles", "import"], "acme,ada,https://www.linkedin.com/in/ada"),
        (["prompts", "import"], "acme,crm-dentists,Which CRM is best for dentists?"),
        (["prompts", "answers"], "muster prompts answers 12 -o answers.jsonl"),
        (["trigger"], "muster trigger --force --timeout 30 --json"),
        (["watch"], "muster watch nightly:2026-11-22 --interval 2"),
        (["verify"], "muster verify 12 --repair"),
        (["articles"], "muster articles --from-file keywords.csv --parallel 3"),
        (["simulate"], "OPENAI_BASE_URL=http://127.0.0.1:9000/v1"),
        (["doctor"], "muster doctor --json"),
        (["serve"], "muster serve --host 0.0.0.0 --port 8080"),
        (["tokens", "create"], "muster tokens create --client acme --name dashboard"),
    ],
)
def test_help_of_a_command_has_an_example(words: list[str], example: str):
    said = CliRunner().invoke(app, [*words, "--help"])
    assert said.exit_code == 0
    assert example in said.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["nope"],
        ["clients", "nope"],
        ["clients", "import"],
        ["clients", "set"],
        ["clients", "set", "acme"],
        ["profiles", "import"],
        ["run"],
        ["run", "profiles", "--nope"],
        ["run", "profiles", "--client"],
        ["show"],
        ["show", "twelve"],
        ["show", "-5"],
        ["export"],
        ["export", "1", "--format", "xml"],
        ["batches", "surplus"],
        ["simulate", "--port", "99999"],
        ["simulate", "--port", "x"],
        ["simulate", "--error-rate", "2"],
        ["simulate", "--error-rate", "nan"],
        ["db", "nope"],
        ["db", "upgrade", "now"],
    ],
)
def test_words_that_fit_no_command_are_a_usage_error(muster: Muster, words: list[str]):
    said = muster(*words)
    assert said.code == 2
    assert "Error: " in said.err
    assert said.out == ""


@pytest.mark.parametrize("words", [[], ["clients"], ["profiles"], ["db"]])
def test_a_group_alone_explains_itself(muster: Muster, words: list[str]):
    said = muster(*words)
    assert said.code == 2
    assert "Commands:" in said.out + said.err


@pytest.mark.parametrize("since", ["foo", "", "1.5h", "-1h", "24", "h", "999999d", "24h; rm"])
def test_a_span_that_is_none_is_told_what_one_looks_like(muster: Muster, since: str):
    said = muster("batches", f"--since={since}")
    assert said.code == 2
    assert "try 90m, 24h or 7d" in said.err
