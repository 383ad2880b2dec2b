"""CSV files of clients and profiles: taken whole or not at all, and every bad line by its number."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.errors import BadInput
from muster.imports import MOST_LINES, read_change, read_clients, read_level, read_profiles

KNOWN = ("acme", "birch")


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "given.csv"


def clients(csv: Path, text: str | bytes) -> list[dict[str, Any]]:
    csv.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_clients(csv)


def profiles(csv: Path, text: str) -> list[dict[str, Any]]:
    csv.write_bytes(text.encode())
    return read_profiles(csv, KNOWN)


def refused(csv: Path, text: str | bytes) -> BadInput:
    with pytest.raises(BadInput) as wrong:
        clients(csv, text)
    assert str(csv) in str(wrong.value)
    return wrong.value


def test_only_the_id_is_required(csv: Path):
    assert clients(csv, "id\nacme\nbirch\n") == [{"id": "acme"}, {"id": "birch"}]


def test_a_blank_or_missing_cell_keeps_the_column_as_it_is(csv: Path):
    text = "id,name,weight,posts_target\nacme,, ,5\nbirch,Birch\n"
    assert clients(csv, text) == [{"id": "acme", "posts_target": 5}, {"id": "birch", "name": "Birch"}]


def test_lines_without_any_cell_are_no_clients(csv: Path):
    assert clients(csv, "\nid,name\n\nacme,A\n,\n  \n") == [{"id": "acme", "name": "A"}]


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("weight", "nan", "finite"),
        ("weight", "inf", "finite"),
        ("weight", "0", "greater than 0"),
        ("weight", "-1", "greater than 0"),
        ("weight", "1e999", "finite"),
        ("weight", "heavy", "valid number"),
        ("batch_size", "0", "greater than or equal to 1"),
        ("batch_size", "2.5", "integer"),
        ("max_batches", "-1", "greater than or equal to 0"),
        ("posts_target", "9" * 40, "less than or equal to 1000000"),
        ("profiles_limit", "9" * 5000, "integer"),
        ("state", "asleep", "'active', 'paused' or 'inactive'"),
        ("name", "n" * 201, "at most 200"),
        ("name", '"two\nlines"', "one line"),
    ],
)
def test_a_cell_that_cannot_be_taken_is_named_with_its_line_and_column(csv: Path, column: str, cell: str, said: str):
    (line,) = refused(csv, f"id,{column}\nfine,\nacme,{cell}\n").lines
    assert line.startswith(f"line 3: {column} ")
    assert said in line
    assert len(line) < 250


@pytest.mark.parametrize("bad", ["a b", "-a", "ä", "a/b", "a" * 65, "../x", "[red]"])
def test_an_id_that_could_be_mistaken_for_something_else_is_refused(csv: Path, bad: str):
    assert refused(csv, f"id\n{bad}\n").lines[0].startswith("line 2: id ")


def test_every_bad_line_is_named_and_every_fault_in_it(csv: Path):
    wrong = refused(csv, "id,weight,state\na,0,asleep\nb,1,active\n,1,active\nc,1,active,more\nb,2,active\n")
    assert "4 lines are wrong" in str(wrong)
    assert [line.split(":")[0] for line in wrong.lines] == ["line 2", "line 4", "line 5", "line 6"]
    assert "weight" in wrong.lines[0]
    assert "state" in wrong.lines[0]
    assert wrong.lines[1:] == (
        "line 4: id is missing",
        "line 5: 4 cells, but the first line names 3 columns",
        "line 6: the same one as in line 3",
    )


def test_more_bad_lines_than_anybody_reads_are_counted(csv: Path):
    wrong = refused(csv, "id\n" + "a b\n" * 50)
    assert "50 lines are wrong" in str(wrong)
    assert len(wrong.lines) == MOST_LINES + 1
    assert wrong.lines[-1] == "and 30 more"


def test_trailing_commas_are_no_cells(csv: Path):
    assert clients(csv, "id,name\nacme,A,,\n") == [{"id": "acme", "name": "A"}]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_line_number_is_right_after_quoted_line_breaks_and_blank_lines(csv: Path, newline: str):
    text = 'client_id,handle,about\nacme,ada,"one\ntwo\nthree"\n\nacme,bob,"x\ny"\nnobody,eve,"p\nq"\n'
    with pytest.raises(BadInput) as wrong:
        profiles(csv, text.replace("\n", newline))
    assert wrong.value.lines == ("line 8: there is no client 'nobody'; import it first",)


def test_a_byte_order_mark_and_windows_line_ends_are_not_part_of_a_cell(csv: Path):
    assert clients(csv, b"\xef\xbb\xbfid,name\r\nacme,Acme\r\n") == [{"id": "acme", "name": "Acme"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"id,name\nacme,\xe9\n", "line 2 is not text in UTF-8"),
        ("id,name\nacme,x\n".encode("utf-16"), "line 1 is not text in UTF-8"),
        (b"id,name\n\nacme,a\x00b\n", "line 3 holds the control character '\\x00'"),
        (b"id,name\nacme,\x1b[31mred\n", "line 2 holds the control character '\\x1b'"),
        (bytes(range(256)), "line 2 is not text in UTF-8"),
        ("", "id must be there"),
        ("\n\n", "id must be there"),
        ("name\nacme\n", "id must be there"),
        ("id;name\nacme;Acme\n", "separated by commas"),
        ("id,id\na,b\n", "stands twice"),
        ("id,\na,b\n", "has no name"),
        ("id,colour\nacme,red\n", "unknown column 'colour'"),
        ('id,name\nacme,"open\n', "line 2 is not CSV"),
        ('id,name\nacme,A\nbirch,"a"b\n', "line 3 is not CSV"),
        ("id,name\nacme," + "n" * 200_000, "line 2 is not CSV"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_with_the_reason(csv: Path, text: str | bytes, said: str):
    assert said in str(refused(csv, text))


def test_a_file_with_only_its_first_line_has_no_clients(csv: Path):
    assert clients(csv, "id,name\n") == []


def test_a_missing_file_and_a_folder_are_one_sentence(tmp_path: Path):
    with pytest.raises(BadInput, match="no such file"):
        read_clients(tmp_path / "nope.csv")
    with pytest.raises(BadInput, match="is a directory"):
        read_clients(tmp_path)


@pytest.mark.parametrize(
    ("label", "level"),
    [("2-Lead Scoring", 2), ("3", 3), (" 1 ", 1), ("Premium", 1), ("", 1), ("10 Gold", 10), ("99999999", 1), ("-4", 1)],
)
def test_a_service_level_is_the_number_that_its_label_begins_with_and_else_1(label: str, level: int):
    assert read_level(label) == level


def test_service_levels_of_a_file_are_read_and_an_empty_one_is_left_alone(csv: Path):
    text = "id,service_level\na,2-Lead Scoring\nb,3\nc, 1 \nd,Premium\ne,\n"
    assert [row.get("service_level") for row in clients(csv, text)] == [2, 3, 1, 1, None]


def test_further_columns_of_a_profile_are_kept_as_data(csv: Path):
    (row,) = profiles(csv, 'client_id,handle,headline,about,city\nacme,ada, Engines ,"a\nb",\n')
    assert row == {
        "client_id": "acme",
        "platform": "linkedin",
        "handle": "ada",
        "url": None,
        "data": {"headline": " Engines ", "about": "a\nb"},
    }


def test_a_profile_of_an_unknown_client_keeps_all_of_them_out(csv: Path):
    with pytest.raises(BadInput) as wrong:
        profiles(csv, "client_id,handle\nacme,ada\nzeta,bob\n")
    assert "nothing was imported" in str(wrong.value)
    assert wrong.value.lines == ("line 3: there is no client 'zeta'; import it first",)


def test_the_same_handle_may_stand_once_per_client_and_platform(csv: Path):
    fine = "client_id,platform,handle\nacme,linkedin,ada\nacme,x,ada\nbirch,linkedin,ada\n"
    assert len(profiles(csv, fine)) == 3
    with pytest.raises(BadInput) as wrong:
        profiles(csv, f"{fine}acme,,ada\n")
    assert wrong.value.lines == ("line 5: the same one as in line 2",)


def test_one_column_is_changed_under_the_rules_of_the_file():
    assert read_change("service_level", "2-Lead Scoring") == {"service_level": 2}
    assert read_change("posts_target", "") == {"posts_target": None}
    for column, value in (("id", "x"), ("colour", "red"), ("name", ""), ("weight", "nan"), ("state", "asleep")):
        with pytest.raises(BadInput, match=column):
            read_change(column, value)


NASTY = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet='id,client_handle\n\r"; \t2x', max_size=200).map(lambda text: f"id,handle\n{text}".encode()),
    st.text(alphabet='acme,ada\n\r" ', max_size=200).map(lambda text: f"client_id,handle\n{text}".encode()),
)


@given(data=NASTY)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_whatever_is_in_it_raises_anything_but_bad_input(csv: Path, data: bytes):
    csv.write_bytes(data)
    for read in (read_clients, lambda path: read_profiles(path, KNOWN)):
        with suppress(BadInput):
            read(csv)
