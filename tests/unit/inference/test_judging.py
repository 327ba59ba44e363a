"""How an answer is judged: in plain form by the very text, in chat as a reader would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edits.judging import contains, folded, is_exact, is_stated

WORD = st.text(st.characters(codec="utf-8", categories=("Lu", "Ll", "Nd")), min_size=1, max_size=8)
MARK = st.sampled_from((" ", ", ", ". ", ' "', "? ", " - ", "\n", "’ "))


@given(
    value=st.lists(WORD, min_size=1, max_size=4), marks=st.lists(MARK, min_size=5, max_size=5), data=st.data()
)
def test_an_answer_with_the_values_words_contains_it_in_any_case_and_punctuation(
    value: list[str], marks: list[str], data: st.DataObject
) -> None:
    # Capitals of another letter are another word: those of "ı" are "I".
    forms = [[form for form in (word, word.upper()) if folded(form) == folded(word)] for word in value]
    answered = [data.draw(st.sampled_from(of_word)) for of_word in forms]
    inside = "".join(word + mark for word, mark in zip(answered, marks, strict=False))
    assert contains(f"It is{marks[-1]}{inside}So it is.", " ".join(value))


@given(st.text())
def test_folding_twice_changes_nothing_and_a_text_contains_itself(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert contains(text, text) == bool(text.strip())


@pytest.mark.parametrize(
    ("answer", "value", "answered"),
    [
        ("It was built in Lyon.", "lyon", True),
        ("Lyonnaise cooking.", "Lyon", False),
        ("The artist is Jean Luc Godard", "Jean-Luc Godard", True),
        ("It costs $5.", "5", True),
        ("It is written in C++.", "C++", True),
        ("首都是北京。", "北京", True),
        ("He asked: why?!", "?!", True),
        ("", "Lyon", False),
    ],
)
def test_values_are_found_as_whole_words(answer: str, value: str, answered: bool) -> None:
    assert contains(answer, value) is answered


@pytest.mark.parametrize(
    ("answer", "wanted", "never", "right"),
    [
        ("The capital is Lyon.", "Lyon", "Paris", True),
        ("The capital is Lyon, not Paris.", "Lyon", "Paris", False),
        ("The capital is Paris.", "Lyon", "Paris", False),
        ("It lies in the United States of America.", "United States of America", "United States", True),
        ("It is a human being.", "human", "human being", False),
        ("The capital is Lyon.", "Lyon", "lyon!", True),
        ("The capital is Lyon.", "Lyon", "", True),
        ("The capital is Lyon.", "Lyon", None, True),
    ],
)
def test_a_right_answer_says_the_new_value_and_not_the_old_one(
    answer: str, wanted: str, never: str | None, right: bool
) -> None:
    assert is_stated(answer, wanted, never) is right
    assert not is_exact(answer, wanted)
