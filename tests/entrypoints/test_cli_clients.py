"""`muster clients` and `muster profiles`: imported whole or not at all, listed as they are."""

import json
from pathlib import Path

import pytest

from tests.entrypoints.conftest import Muster, muster_process

NASTY = "[red]x[/red] [/] 🦊 =1+1"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "given.csv"


def ids(muster: Muster) -> list[str]:
    return [it["id"] for it in muster("clients", "list", "--json").json["clients"]]


def test_an_empty_ledger_says_how_clients_come_into_it(muster: Muster):
    said = muster("clients", "list")
    assert said.code == 0
    assert "muster clients import FILE.csv" in said.out
    assert muster("clients", "list", "--json").json == {"clients": []}


def test_imported_clients_are_listed_with_all_their_limits(muster: Muster, two_clients: None):
    acme, birch = muster("clients", "list", "--json").json["clients"]
    assert acme == {
        "id": "acme",
        "name": "Acme",
        "state": "active",
        "service_level": 2,
        "weight": 1.0,
        "batch_size": 20,
        "max_batches": 10,
        "posts_target": 5,
        "max_posts_per_profile": 2,
        "profiles_limit": 100,
        "brand": [],
        "competitors": [],
        "profiles": 6,
    }
    assert (birch["state"], birch["posts_target"], birch["profiles"]) == ("paused", None, 1)


def test_a_malformed_file_is_exit_code_2_and_imports_nothing(muster: Muster, csv: Path):
    csv.write_text("id,weight\nacme,1\nbirch,heavy\nacme,2\n")
    said = muster("clients", "import", str(csv))
    assert said.code == 2
    assert "nothing was imported, 2 lines are wrong" in said.err
    assert "\n  line 3: weight 'heavy'" in said.err
    assert "\n  line 4: the same one as in line 2" in said.err
    assert ids(muster) == []


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"id,name\nacme,\x1b[31m\n", b'id\n"'])
@pytest.mark.parametrize("noun", ["clients", "profiles"])
def test_a_file_that_is_no_table_is_exit_code_2(muster: Muster, csv: Path, noun: str, content: bytes):
    csv.write_bytes(content)
    said = muster(noun, "import", str(csv))
    assert said.code == 2
    assert "\x1b" not in said.err


@pytest.mark.parametrize("noun", ["clients", "profiles"])
def test_a_file_that_is_not_there_is_exit_code_2(muster: Muster, tmp_path: Path, noun: str):
    assert muster(noun, "import", str(tmp_path / "nope.csv")).code == 2
    assert muster(noun, "import", str(tmp_path)).code == 2


def test_profiles_of_an_unknown_client_are_refused(muster: Muster, two_clients: None, csv: Path):
    csv.write_text("client_id,handle\nacme,new\nnobody,new\n")
    said = muster("profiles", "import", str(csv))
    assert said.code == 2
    assert "line 3: there is no client 'nobody'" in said.err
    assert muster("clients", "list", "--json").json["clients"][0]["profiles"] == 6


def test_imports_answer_scripts_with_one_object(muster: Muster, csv: Path):
    csv.write_text("id\nacme\n")
    assert muster("clients", "import", str(csv), "--json").json == {"imported": 1}
    assert muster("clients", "import", str(csv)).out == "1 client imported.\n"


def test_names_are_shown_as_they_are_whatever_they_look_like(muster: Muster, csv: Path):
    csv.write_text(f"id,name\nacme,{NASTY}\n", encoding="utf-8")
    muster("clients", "import", str(csv))
    assert NASTY in muster("clients", "list").out
    assert muster("clients", "list", "--json").json["clients"][0]["name"] == NASTY


def test_a_terminal_that_knows_no_emoji_is_no_error(muster: Muster, csv: Path):
    csv.write_text(f"id,name\nacme,{NASTY}\n", encoding="utf-8")
    muster("clients", "import", str(csv))
    said = muster_process("clients", "list", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert said.code == 0
    assert "\\U0001f98a" in said.out
    whole = muster_process("clients", "list", "--json", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert json.loads(whole.out)["clients"][0]["name"] == NASTY


def test_the_list_fits_80_columns(muster: Muster, two_clients: None):
    said = muster_process("clients", "list", COLUMNS="80")
    assert max(len(line) for line in said.out.splitlines()) <= 80
    assert [line.split()[0] for line in said.out.splitlines()] == ["client", "acme", "birch"]


def test_columns_of_a_client_are_set_and_unset(muster: Muster, two_clients: None):
    said = muster("clients", "set", "acme", "state=paused", "posts_target=", "service_level=3-Full service")
    assert said.code == 0
    assert said.out == "acme: state is paused, posts_target is not set, service_level is 3.\n"
    acme = muster("clients", "list", "--json").json["clients"][0]
    assert (acme["state"], acme["posts_target"], acme["service_level"]) == ("paused", None, 3)


@pytest.mark.parametrize(
    "words",
    [
        ("nope", "state=paused"),
        ("\udcff", "state=paused"),
        ("acme", "state"),
        ("acme", "state="),
        ("acme", "state=asleep"),
        ("acme", "name="),
        ("acme", "name=\x1b[31m"),
        ("acme", "id=other"),
        ("acme", "colour=red"),
        ("acme", "weight=nan"),
        ("acme", "posts_target=99999999999999999999"),
        ("acme", "batch_size=10", "weight=0"),
        ("acme", "=x"),
    ],
)
def test_a_change_that_cannot_be_made_changes_nothing(muster: Muster, two_clients: None, words: tuple[str, ...]):
    before = muster("clients", "list", "--json").json
    said = muster("clients", "set", *words)
    assert said.code == 2
    assert said.err.startswith("Error: ")
    assert muster("clients", "list", "--json").json == before
