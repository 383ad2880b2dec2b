"""`muster run` for real: in testing mode against the simulator, as a process of its own."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.entrypoints.conftest import SCRIPT, Muster, muster_process
from tests.flows.simulated import Simulator, simulator

COUNTS = {"id", "client", "workload", "state", "total", "succeeded", "skipped", "failed", "cancelled", "remaining"}


def test_a_plan_opens_and_calls_nothing(muster: Muster, two_clients: None, simulated: Simulator):
    said = muster("run", "profiles", "posts", "--plan")
    assert said.code == 0
    assert "normal mode would work 12 items; nothing was opened or called." in said.out
    assert "client is paused" in said.out
    plan = muster("run", "profiles", "--plan", "--testing", "--json").json
    assert plan["mode"] == "testing"
    assert {(it["client"], it["total"]) for it in plan["batches"]} == {("acme", 5), ("birch", 1)}
    assert simulated.calls("openai").total() == 0
    assert muster("batches", "--json").json == {"batches": []}


def test_a_testing_run_prints_one_object_and_its_progress_elsewhere(two_clients: None, simulated: Simulator):
    said = muster_process("run", "profiles", "posts", "--testing", "--json")
    assert said.code == 0
    account = said.json
    assert set(account) == {"run", "mode", "state", "clients", "batches", "fairness"}
    assert (account["mode"], account["state"]) == ("testing", "done")
    assert [(it["id"], it["included"]) for it in account["clients"]] == [("acme", True), ("birch", True)]
    assert all(set(it) == COUNTS | {"gained", "reason"} for it in account["batches"])
    by_name = {(it["client"], it["workload"]): it for it in account["batches"]}
    assert by_name["acme", "profiles"]["succeeded"] == 5
    assert by_name["acme", "posts"]["gained"] <= 5
    assert all(it["remaining"] == 0 for it in account["batches"])
    assert not said.err.startswith("{")
    assert simulated.calls("openai").total() == 6


def test_a_run_for_people_accounts_for_every_client(two_clients: None, simulated: Simulator):
    said = muster_process("run", "profiles", "--client", "acme", "--client", "birch")
    assert said.code == 0
    assert "1 of 2 clients took part; 6 items, 0 of them open." in said.out
    assert "6 succeeded" in said.out
    assert "client is paused" in said.out


def test_nothing_to_do_is_said_and_is_no_error(muster: Muster, two_clients: None, simulated: Simulator):
    assert muster("run", "profiles").code == 0
    again = muster("run", "profiles")
    assert again.code == 0
    assert "Nothing to do" in again.out
    assert simulated.calls("openai").total() == 6


def test_a_ledger_without_clients_says_how_they_come_into_it(muster: Muster, simulated: Simulator):
    for words in (("run", "profiles"), ("run", "profiles", "--plan")):
        said = muster(*words)
        assert said.code == 0
        assert "muster clients import FILE.csv" in said.out


@pytest.fixture
def interrupted(two_clients: None, monkeypatch: pytest.MonkeyPatch) -> subprocess.CompletedProcess[str]:
    """A run that met Ctrl+C while its calls were under way."""
    with simulator(latency_ms=800) as slow:
        for name, value in slow.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MUSTER_IN_FLIGHT", "1")
        command = [*SCRIPT, "run", "profiles", "--client", "acme"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as child:  # noqa: S603
            while not slow.calls("openai"):
                time.sleep(0.02)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    interrupted: subprocess.CompletedProcess[str], muster: Muster, simulated: Simulator
):
    assert interrupted.returncode == 130
    assert "Traceback" not in interrupted.stderr
    assert "To go on: muster run profiles --client acme --normal" in interrupted.stderr
    gone_on = muster("run", "profiles", "--client", "acme", "--normal")
    assert gone_on.code == 0
    assert "Going on with run" in gone_on.err
    assert "6 items, 0 of them open" in gone_on.out


def test_ctrl_c_before_anything_happened_is_quiet(tmp_path: Path):
    fifo = tmp_path / "clients.csv"
    os.mkfifo(fifo)
    command = [*SCRIPT, "clients", "import", str(fifo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as child:  # noqa: S603
        time.sleep(0.4)  # in the midst of its imports
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err.strip()) == (130, "", "")
