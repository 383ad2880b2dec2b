"""Names in texts: whole words, whatever their case and accents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.mentions import Text, mentions


@pytest.mark.parametrize(
    ("text", "names", "places"),
    [
        ("Acme is best.", ["Acme"], [0]),
        ("We like ACME, acme and Acmé.", ["acme"], [8, 14, 23]),
        ("Acmeville and Pacme", ["acme"], []),
        ("Acme's and (Acme)", ["acme"], [0, 12]),
        ("Café Müller", ["cafe muller"], [0]),
        ("Acme  \n Corp", ["Acme Corp"], [0]),
        ("Acme Corp and Acme", ["Acme", "Acme Corp"], [0, 14]),  # within each other: the longest
        ("Use C++, not C.", ["C++"], [4]),
        ("Straße 5", ["STRASSE"], [0]),
        ("ﬁne Å", ["fine"], [0]),
        ("Nothing of it", ["Acme"], []),
        ("Nothing", ["", " "], []),
        ("", ["Acme"], []),
        ("山田は Acme。", ["Acme"], [4]),
    ],
)
def test_a_name_is_found_where_it_stands_alone(text: str, names: list[str], places: list[int]):
    assert mentions(text, names) == places


def test_a_long_text_is_read_once_for_many_names():
    text = Text("acme áçmé  beta " * 100)

    assert {len(text.mentions([f"name {n}", "acme", "beta"])) for n in range(10)} == {300}


@given(st.text(), st.text(min_size=1))
def test_places_are_letters_of_the_text_in_order(text: str, name: str):
    found = mentions(text, [name])

    assert found == sorted(set(found))
    assert all(0 <= it < len(text) for it in found)
