"""Counts in words: one helper says "1 batch" and "2 batches" everywhere."""

import pytest

from edits.text import counted


@pytest.mark.parametrize(
    ("number", "words", "written"),
    [
        (0, ["edit"], "0 edits"),
        (1, ["edit"], "1 edit"),
        (1, ["batch"], "1 batch"),
        (2, ["batch"], "2 batches"),
        (12_345, ["record"], "12,345 records"),
        (1, ["edit", "waits", "wait"], "1 edit waits"),
        (3, ["edit", "waits", "wait"], "3 edits wait"),
    ],
)
def test_a_count_agrees_with_its_noun_and_its_verb(number: int, words: list[str], written: str) -> None:
    assert counted(number, *words) == written
