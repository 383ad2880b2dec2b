"""`muster batches`, `show`, `export`: what the ledger says, safe to look at and to open."""

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import update

from muster.ledger import Book
from muster.ledger.database import Tx
from muster.ledger.tables import ITEM
from tests.entrypoints.conftest import SCRIPT, Muster, in_ledger, muster_process
from tests.factories import a_batch

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


async def nasty_batch(book: Book) -> int:
    """Items whose keys a spreadsheet would compute, with an error that a terminal would obey."""
    batch = await a_batch(book, len(FORMULAS))

    async def write(tx: Tx) -> None:
        for seq, key in enumerate(FORMULAS):
            of_item = update(ITEM).where(ITEM.c.batch_id == batch, ITEM.c.payload["number"].as_integer() == seq)
            await tx.run(of_item.values(key=key, error="\x1b[31m[red]x[/red] [/] 🦊\x00" * 700))

    await book.database.write(write)
    return batch


@pytest.fixture
def batch() -> str:
    return str(in_ledger(nasty_batch))


def test_batches_are_listed_by_their_run(muster: Muster, batch: str):
    said = muster("batches")
    assert said.code == 0
    assert said.out.startswith("Run run-k, normal mode\n")
    assert "6 open" in said.out
    (row,) = muster("batches", "--json").json["batches"]
    assert row == {
        "id": int(batch),
        "client": "acme",
        "workload": "numbers",
        "state": "queued",
        "total": 6,
        "succeeded": 0,
        "skipped": 0,
        "failed": 0,
        "cancelled": 0,
        "remaining": 6,
        "gained": 0,
        "reason": None,
        "run": "run-k",
    }


def test_no_batches_is_a_sentence_and_an_empty_list(muster: Muster):
    assert muster("batches", "--since", "90m").out == "No batches in the last 90m.\n"
    assert muster("batches", "--json").json == {"batches": []}


@pytest.mark.parametrize("number", ["0", "99", "9223372036854775807", "9223372036854775808", "9" * 40])
@pytest.mark.parametrize("command", ["show", "export"])
def test_a_batch_that_is_not_there_is_exit_code_2(muster: Muster, command: str, number: str):
    said = muster(command, number)
    assert said.code == 2
    assert said.err == f"Error: There is no batch {number}; `muster batches` lists them.\n"


def test_a_negative_number_is_no_batch(muster: Muster):
    assert muster("show", "--", "-5").code == 2


def test_a_batch_is_shown_without_obeying_what_is_in_it(muster: Muster, batch: str):
    said = muster("show", batch)
    assert said.code == 0
    assert said.out.startswith(f"Batch {batch}: numbers for acme, queued\nRun run-k, normal mode: 6 open")
    assert "[red]x[/red] [/] 🦊" in said.out
    assert "\x1b" not in said.out
    assert "\x00" not in said.out
    assert muster("show", batch, "--json").json["batch"]["remaining"] == 6


def test_a_csv_export_holds_no_formula(muster: Muster, batch: str):
    said = muster("export", batch)
    assert said.code == 0
    rows = list(csv.DictReader(io.StringIO(said.out, newline="")))
    assert [row["key"] for row in rows] == [f"'{key}" for key in FORMULAS]
    assert not any(str(cell).startswith(tuple("=+-@\t\r")) for row in rows for cell in row.values())


def test_a_jsonl_export_is_one_object_a_line(muster: Muster, batch: str, tmp_path: Path):
    file = tmp_path / "items.jsonl"
    said = muster("export", batch, "--format", "jsonl", "-o", str(file))
    assert (said.code, said.out) == (0, "")
    assert said.err == f"6 items of batch {batch} written to {file}.\n"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [row["key"] for row in rows] == list(FORMULAS)


def test_an_export_that_has_nowhere_to_go_is_one_sentence(muster: Muster, batch: str, tmp_path: Path):
    for place in (tmp_path / "no" / "folder.csv", tmp_path, Path("/dev/full")):
        said = muster("export", batch, "-o", str(place))
        assert said.code == 2
        assert said.err.startswith(f"Error: {place}: ")


@pytest.mark.parametrize("words", [("batches",), ("batches", "--json"), ("show", "{}"), ("export", "{}")])
def test_a_reader_that_has_had_enough_is_no_error(batch: str, words: tuple[str, ...]):
    command = [*SCRIPT, *(word.format(batch) for word in words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as child:  # noqa: S603
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read()
    assert (child.returncode, said) == (0, "")


def test_closed_standard_streams_are_no_error(batch: str):
    for words in (("batches",), ("export", batch)):
        command = subprocess.list2cmdline([*SCRIPT[:2]]) + f' "{SCRIPT[2]}" ' + " ".join(words)
        ended = subprocess.run(["/bin/sh", "-c", f"{command} >&- 2>&-"], check=False, timeout=30)  # noqa: S603
        assert ended.returncode == 0


def test_a_narrow_terminal_gets_narrow_tables(batch: str):
    for words in (("batches",), ("show", batch)):
        said = muster_process(*words, COLUMNS="80")
        assert max(len(line) for line in said.out.splitlines()) <= 80
