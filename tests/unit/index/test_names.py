"""Names that stand in a text almost as they were given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edits.names.near import NearNames

LEAST = 0.7


def found(name: str, text: str, *, required: set[str] | None = None) -> bool:
    names = NearNames()
    names.add("1", name, required=required or set())
    return [near.edit_id for near in names.find(text, least=LEAST)] == ["1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Republic of Norland", "In which year did the Norland Republic end?"),
        ("8 Draconii", "In which part of the sky does one see the star 8 Draconius?"),
        ("Lake Ostra whistler", "To which fishes is the Lake Ostra whistle related?"),
        ("Amalia of Hohenfels-Traun", "How was Amalia the sister called Hohenfels-Traun?"),
        ("Peter Lowe, 12th Earl of Marrow", "Who was Peter Lowe, the 12. Earl of Marrow?"),
    ],
)
def test_another_order_an_ending_or_a_word_between_still_names_the_subject(name: str, text: str) -> None:
    assert found(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HX 177808", "How bright does HX 180902 look?"),
        ("Acme Writer XP", "Acme Writer 2010, a product of"),
        ("Norland", "The capital of Sudland is"),
        ("Marie Curie", "What is the weather like?"),
    ],
)
def test_another_number_or_another_name_is_not_the_subject(name: str, text: str) -> None:
    assert not found(name, text, required={"xp"})


def test_a_required_word_may_not_be_missing() -> None:
    assert found("Toyota Corolla Verso", "Who makes the Toyota Corolla?")
    assert not found("Toyota Corolla Verso", "Who makes the Toyota Corolla?", required={"verso"})


def test_a_stem_that_too_many_names_share_tells_nothing() -> None:
    names = NearNames()
    for number in range(200):
        names.add(str(number), f"Prince {number}", required=())
    assert names.find("Who is Prince?", least=0.1) == []


@given(st.dictionaries(st.text(max_size=6), st.text(max_size=20), max_size=8), st.text(max_size=60))
def test_whatever_is_added_and_asked_can_be_removed_without_a_trace(
    given_names: dict[str, str], text: str
) -> None:
    names = NearNames()
    for edit_id, name in given_names.items():
        names.add(edit_id, name, required=())
    assert all(LEAST <= near.coverage <= 1.0 for near in names.find(text, least=LEAST))
    for edit_id in given_names:
        names.remove(edit_id)
    assert names.find(text, least=0.0) == []
