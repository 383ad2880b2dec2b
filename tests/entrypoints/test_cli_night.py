"""The night from a terminal: prompts, `trigger`, `watch`, `verify`, and the cron secret."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from muster.ledger import Book
from muster.ledger.database import Row, Tx
from muster.ledger.domain import ANSWER
from muster.ledger.tables import ITEM, SETTING
from muster.states import ItemState
from tests.entrypoints.conftest import SCRIPT, Muster, in_ledger, muster_process
from tests.flows.simulated import Simulator, simulator

PROVIDERS = ("openai", "perplexity", "gemini", "anthropic")


@pytest.fixture
def three_clients(muster: Muster, tmp_path: Path) -> None:
    """`acme` with eight prompts, `beta` with none, `gone`, inactive, with one."""
    clients, prompts = tmp_path / "clients.csv", tmp_path / "prompts.csv"
    clients.write_text(
        "id,name,state,service_level,brand,competitors\n"
        "acme,Acme Corp,,2,Acme Corp|Acme,Beta Inc|Beta; Gamma\nbeta,Beta Inc,,2,,\ngone,Gone Ltd,inactive,2,,\n"
    )
    lines = [f'acme,p{n},"Is ""Acme"" best for {n}?",' for n in range(8)]
    prompts.write_text("\n".join(["client_id,key,text,state", *lines, "acme,old,never asked,inactive", "gone,,hello,"]))
    assert muster("clients", "import", str(clients)).code == 0
    assert muster("prompts", "import", str(prompts)).out == "10 prompts imported.\n"


def called(upstreams: Simulator) -> int:
    return sum(upstreams.calls(name).total() for name in PROVIDERS)


def test_trigger_prints_the_seeds_picture_and_ends_with_success(
    muster: Muster, three_clients: None, simulated: Simulator
):
    said = muster("trigger", "--interval", "0.5")

    assert said.code == 0
    assert "Iteration 1 (elapsed: 0s)" in said.out
    assert "| 100% | 32/32 completed, 0 failed, 0 remaining" in said.out
    assert "✅ SUCCESS: every item of every client was processed" in said.out
    assert "✅ Acme Corp\n   Status: done\n   Progress: 32/32 (100%)" in said.out
    assert "– Beta Inc: profiles: no profile without a score" in said.out
    assert "– Gone Ltd: client is inactive" in said.out
    assert "Summary: 1 done, 0 in progress or queued, 0 failed" in said.out
    assert called(simulated) == 32
    assert muster("verify").code == 0
    assert muster("watch").code == 0


def test_a_second_trigger_of_the_day_opens_nothing_and_force_says_who(
    muster: Muster, three_clients: None, simulated: Simulator
):
    first = muster("trigger", "--json").json
    again = muster("trigger")
    forced = muster("trigger", "--force", "--json").json

    assert again.code == 0
    assert "It was over before" in again.err
    assert forced["run"] == f"{first['run']}#2"
    assert called(simulated) == 64
    run = in_ledger(lambda book: _run(book, forced["run"]))
    assert run["forced"] is True
    assert "@" in run["started_by"]


async def _run(book: Book, key: str) -> Row:
    return await book.runs.get(await book.runs.id_of(key))


def test_a_night_without_clients_is_refused_and_does_not_use_up_the_day(muster: Muster):
    said = muster("trigger")

    assert said.code == 2
    assert "There are no clients yet; `muster clients import FILE.csv` brings them." in said.err
    assert "no run yet" in muster("watch").err


def test_a_key_that_was_mended_is_used_by_the_same_command(
    three_clients: None, simulated: Simulator, muster: Muster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("GEMINI_API_KEY")
    with simulator(1000) as slow:
        environ = {**slow.environ, "MUSTER_LANES": "1", "MUSTER_IN_FLIGHT": "4", "GEMINI_API_KEY": ""}
        first = muster_process("trigger", "--timeout", "0.05", "--interval", "1", **environ)
        assert first.code == 1
        assert "To go on with what is open: muster trigger" in first.out
    monkeypatch.setenv("GEMINI_API_KEY", "simulated")

    again = muster("trigger", "--json").json

    assert again["success"] is True
    assert again["troubles"] == []


def test_no_monitor_works_it_and_says_only_how_it_ended(muster: Muster, three_clients: None, simulated: Simulator):
    said = muster("trigger", "--no-monitor")

    assert said.code == 0
    assert "Iteration" not in said.out
    assert "SUCCESS" in said.out
    assert called(simulated) == 32


def test_a_night_without_anything_to_do_says_so_for_each_client(
    muster: Muster, two_clients: None, simulated: Simulator
):
    assert muster("clients", "set", "acme", "state=inactive").code == 0
    said = muster("trigger")

    assert said.code == 0
    assert "SUCCESS: there was nothing to do" in said.out
    assert "– Acme: client is inactive" in said.out
    assert muster("watch", "--json").json["state"] == "done"


def test_a_provider_without_a_key_is_named_before_and_after_and_resumed(
    muster: Muster, three_clients: None, simulated: Simulator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("GEMINI_API_KEY")
    said = muster("trigger", "--interval", "0.5")

    assert said.code == 1
    assert "gemini: GEMINI_API_KEY is not set" in said.err
    assert "❌ FAILURE: some items remain open" in said.out
    assert "INCOMPLETE: 8 items of batch 1 not processed: GEMINI_API_KEY is not set" in said.out
    assert "gemini is called no more since" in muster("show", "1").out
    verified = muster("verify")
    assert verified.code == 1
    assert "GAP  acme prompts: batch 1 is failed with 8 items open: GEMINI_API_KEY is not set" in verified.out
    assert called(simulated) == 24

    monkeypatch.setenv("GEMINI_API_KEY", "simulated")
    assert "queued" in muster("resume", "1").out
    assert muster("reconcile").code == 0
    assert muster("verify").code == 0
    assert called(simulated) == 32


def test_a_repair_opens_and_works_only_what_is_missing(muster: Muster, three_clients: None, simulated: Simulator):
    muster("trigger", "--json")

    async def lose(tx: Tx) -> None:
        gone = ITEM.c.key.in_(["p3/openai", "p5/gemini"])
        await tx.run(delete(ANSWER).where(ANSWER.c.item_id.in_(select(ITEM.c.id).where(gone))))
        await tx.run(delete(ITEM).where(gone))

    in_ledger(lambda book: book.database.write(lose))
    lost = muster("verify")
    assert lost.code == 1
    assert "GAP  acme prompts: batch 1 has 30 items, and 32 were planned." in lost.out
    assert "muster verify --repair" in lost.out

    mended = muster("verify", "--repair")
    assert mended.code == 0
    assert "Batch 1: 2 items planned again." in mended.err
    assert called(simulated) == 34
    assert muster("verify", "--json").json["coverage"] == 1


def test_answers_come_out_with_what_they_mention_and_cite(muster: Muster, three_clients: None, simulated: Simulator):
    muster("trigger", "--json")
    rows = [json.loads(line) for line in muster("prompts", "answers", "1").out.splitlines()]

    assert len(rows) == 32
    assert rows[0]["asked"] == 'Is "Acme" best for 0?'
    assert {row["provider"] for row in rows} == set(PROVIDERS)
    assert all(set(row["mentions"]) == {"Acme Corp", "Beta Inc", "Gamma"} for row in rows)
    assert all(row["citations"][0]["domain"] for row in rows)


def test_what_was_killed_in_the_middle_goes_on_without_repeating_what_was_done(three_clients: None):
    with simulator(400) as slow:
        environ = {**slow.environ, "MUSTER_LANES": "1", "MUSTER_IN_FLIGHT": "4", "MUSTER_STALE_SECONDS": "1"}
        killed = subprocess.Popen(  # noqa: S603
            [*SCRIPT, "trigger", "--force", "--no-monitor"], env=os.environ | environ, start_new_session=True
        )
        while called(slow) < 12:
            time.sleep(0.05)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        in_flight = in_ledger(lambda book: book.database.read(running))
        said = muster_process("trigger", "--json", **environ)

        assert said.code == 0
        assert said.json["batches"][0]["succeeded"] == 32
        assert called(slow) <= 32 + in_flight


def test_what_a_person_cancelled_is_no_success(three_clients: None):
    with simulator(400) as slow:
        environ = {**slow.environ, "MUSTER_LANES": "1", "MUSTER_IN_FLIGHT": "2"}
        trigger = subprocess.Popen(  # noqa: S603
            [*SCRIPT, "trigger", "--interval", "0.5"],
            env=os.environ | environ,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        while called(slow) < 4:
            time.sleep(0.05)
        assert muster_process("cancel", "1").code == 0
        said, _ = trigger.communicate(timeout=60)

    assert "CANCELLED:" in said
    assert "will not be processed, all others were" in said
    assert "SUCCESS" not in said
    assert "   Cancelled: " in said


async def running(tx: Tx) -> int:
    """How many items were in flight at the kill, or had ended and were not recorded yet."""
    state = select(func.count()).select_from(ITEM).where(ITEM.c.state == ItemState.RUNNING)
    return int(await tx.value(state))


def test_when_the_time_is_over_the_rest_stays_open_and_the_exit_code_is_1(three_clients: None):
    with simulator(1000) as slow:
        environ = {**slow.environ, "MUSTER_LANES": "1", "MUSTER_IN_FLIGHT": "2"}
        said = muster_process("trigger", "--timeout", "0.05", "--interval", "1", **environ)

        assert said.code == 1
        assert "❌ FAILURE: not over after 0.05 minutes" in said.out
        assert "INCOMPLETE" in said.out
        assert called(slow) < 32


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["watch"], 2, "There is no run yet"),
        (["watch", "nope"], 2, "There is no run 'nope'"),
        (["watch", "77"], 2, "There is no run 77"),
        (["watch", "9" * 5000], 2, "There is no run"),
        (["verify"], 2, "There is no run yet"),
        (["trigger", "--interval", "0"], 2, "interval"),
        (["trigger", "--timeout", "-1"], 2, "timeout"),
        (["prompts", "answers", "12"], 2, "There is no batch 12"),
        (["prompts", "list", "--client", "nope"], 2, "There is no client 'nope'"),
    ],
)
def test_what_is_not_there_is_one_sentence(muster: Muster, words: list[str], code: int, said: str):
    answer = muster(*words)

    assert answer.code == code
    assert said in answer.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nobody,k,text,", "there is no client 'nobody'"),
        ("acme,k,,", "text is missing"),
        ("acme,bad key!,text,", "key 'bad key!'"),
        ("acme,k,text,asleep", "state 'asleep'"),
        ("acme,k,one,\nacme,k,two,", "the same one as in line 2"),
    ],
)
def test_a_bad_line_of_prompts_is_named_and_nothing_is_imported(
    muster: Muster, two_clients: None, tmp_path: Path, line: str, said: str
):
    file = tmp_path / "prompts.csv"
    file.write_text(f"client_id,key,text,state\n{line}\n")
    answer = muster("prompts", "import", str(file))

    assert answer.code == 2
    assert said in answer.err
    assert "No prompts yet" in muster("prompts", "list").out


def test_brands_and_competitors_are_set_and_unset(muster: Muster, two_clients: None):
    assert muster("clients", "set", "acme", "brand=Acme Corp|Acme", "competitors=Beta Inc|Beta; Gamma").code == 0
    acme = muster("clients", "list", "--json").json["clients"][0]
    assert (acme["brand"], acme["competitors"]) == (["Acme Corp", "Acme"], [["Beta Inc", "Beta"], ["Gamma"]])

    assert muster("clients", "set", "acme", "brand=", "competitors=").code == 0
    acme = muster("clients", "list", "--json").json["clients"][0]
    assert (acme["brand"], acme["competitors"]) == ([], [])


def test_a_new_secret_is_printed_once_and_kept_as_a_hash(muster: Muster):
    secret = muster("secret", "rotate").out.strip()

    async def kept(tx: Tx) -> str:
        return str(await tx.rows(select(SETTING)))

    assert len(secret) > 30
    assert secret not in in_ledger(lambda book: book.database.read(kept))
