"""Keywords as they are read and merged."""

from pathlib import Path

import pytest

from muster.errors import BadInput
from muster.keywords import LONGEST, from_file, merge, typed


def test_each_is_taken_once_in_its_order_and_spaces_do_not_count():
    merged = merge(typed(["b", "a  c", " b ", "a c", "B"]))

    assert merged.texts == ("b", "a c", "B")
    assert merged.twice == ("keyword 3: 'b' is the same as keyword 1", "keyword 4: 'a c' is the same as keyword 2")


def test_two_hundred_letters_of_any_kind_fit():
    assert merge(typed(["😀" * LONGEST])).texts == ("😀" * LONGEST,)
    with pytest.raises(BadInput) as wrong:
        merge(typed(["x", "😀" * 201, "\x07", "\n\t"]))
    assert [it.partition(":")[0] for it in wrong.value.lines] == ["keyword 2", "keyword 3", "keyword 4"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "word\nx\n", "keyword is missing"),
        ("a.csv", 'keyword\n"x\n', "is not CSV"),
        ("a.jsonl", '"x"\n{"keyword": 1}\n', "line 2 must be a JSON string"),
        ("a.jsonl", "{\n", "line 1 must be"),
        ("a.txt", "\xff", "not text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, name: str, text: str, said: str):
    file = tmp_path / name
    file.write_bytes(text.encode("latin-1"))

    with pytest.raises(BadInput, match=said):
        merge(from_file(str(file)))


def test_a_csv_cell_that_is_missing_is_an_empty_keyword(tmp_path: Path):
    file = tmp_path / "a.csv"
    file.write_text("note,keyword\nonly a note\nx,fine\n")

    with pytest.raises(BadInput) as wrong:
        merge(from_file(str(file)))
    assert wrong.value.lines == (f"{file}, line 2: is empty",)
