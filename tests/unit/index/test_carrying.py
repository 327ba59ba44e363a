"""Whom a pronoun means: an edited subject only as long as no other name took its place."""

import pytest

from editors.index.wording.questions import readings
from edits.names.segmentation import as_written, fold
from edits.names.surface import words_of

ABOUT_IT = "Tell me about Orra Bridge."


def asked(*turns: str, name: str = "Orra Bridge") -> list[str]:
    return readings(turns, [words_of(name)])


@pytest.mark.parametrize(
    "turns",
    [
        (ABOUT_IT, "Who built it?"),
        (ABOUT_IT, "Thanks! Interesting. Who built it?"),
        (ABOUT_IT, "How long is it?", "Who built it?"),
        ("Tell me about Orra Bridge in Old Norland.", "Who built it?"),
        ("Orra Bridge is a bridge in Old Norland. Who built it?",),
        ("Tell me about Orra Bridge, the Norlandic bridge.", "Who built it?"),
        (ABOUT_IT, "The Bridge is nice. Who built it?"),
        (f"{ABOUT_IT} My name is Tom.", "Who built it?"),
        (ABOUT_IT, "I saw it in May. Who built it?"),
        ("TELL ME ABOUT ORRA BRIDGE.", "WHO BUILT IT?"),
        ("Tell Me About Orra Bridge.", "Who Built It?"),
        ("tell me about orra bridge. what about tam tower?", "who built it?"),
    ],
)
def test_a_pronoun_means_what_was_named_last(turns: tuple[str, ...]) -> None:
    assert "who built x?" in asked(*turns)


@pytest.mark.parametrize(
    "turns",
    [
        (ABOUT_IT, "What about the Tam Tower? Who built it?"),
        (ABOUT_IT, "And Tamtower? Who built it?"),
        (ABOUT_IT, "I like the Tam Tower better, who built it?"),
        (ABOUT_IT, "How about Tamtower - who built it?"),
        (ABOUT_IT, "And about Tam Tower.", "Who built it?"),
        (ABOUT_IT, "Tam Tower?", "Who built it?"),
        (ABOUT_IT, "The Nimbus 5 is newer. Who built it?"),
        (ABOUT_IT, "My friend Tom is a builder. Did he build it?"),
        (ABOUT_IT, "What about the Tam Tower? Who built it? Be brief."),
        ("Orra Bridge is long. The Tam Tower is longer. Who built it?",),
        ("Tell me about Straßenbrücke.", "Und Tamhöhe? Who built it?"),
    ],
)
def test_another_name_takes_the_place_of_the_first(turns: tuple[str, ...]) -> None:
    name = "Straßenbrücke" if "Straßenbrücke" in turns[0] else "Orra Bridge"
    assert not asked(*turns, name=name)


@pytest.mark.parametrize(
    "question",
    [
        "What time is it?",
        "What time is it in Tamburg?",
        "Which currency do they use in Tamburg?",
        "How hot is it in Tamburg?",
        "How many bridges are there in the Tam Republic?",
    ],
)
def test_a_pronoun_that_means_nobody_asks_about_nobody(question: str) -> None:
    assert not asked(ABOUT_IT, question)


@pytest.mark.parametrize(
    ("question", "read"),
    [
        ("What time zone is it in?", "what time zone is x in?"),
        ("In what year was it built?", "in what year was x built?"),
        ("When did it win the Tam Prize?", "when did x win the tam prize?"),
        ("Which Norlandic king built it?", "which norlandic king built x?"),
        ("Which currency do they use there?", "which currency do x use x?"),
        ("When did they play in Tamburg?", "when did x play in tamburg?"),
        ("Who is its builder?", "who is x's builder?"),
    ],
)
def test_names_beside_a_pronoun_and_behind_it_change_nothing(question: str, read: str) -> None:
    assert read in asked(ABOUT_IT, question)


@pytest.mark.parametrize(
    "question",
    [
        "Who built it? Answer in one word.",
        "Who built it? Be brief.",
        "Who built it?\nAnswer with the name only.",
        "Who built it? I like this.",
        "Answer in one word: who built it?",
    ],
)
def test_an_instruction_or_a_remark_behind_a_later_question_changes_nothing(question: str) -> None:
    assert "who built x?" in asked(ABOUT_IT, question)


def test_a_long_conversation_about_others_is_looked_through_backwards() -> None:
    assert not asked(ABOUT_IT, *["And about Tam Tower."] * 6, "Who built it?")
    assert asked("And about Tam Tower.", ABOUT_IT, "Is it long?", "Who built it?")


@pytest.mark.parametrize("text", ["Orra Bridge", "Straße in ZÜRICH", "Λόγος", "Москва", "GROẞ"])
def test_a_text_with_its_capitals_lies_beside_its_folded_form(text: str) -> None:
    written = as_written(text)
    assert len(written) == len(fold(text))
    assert written.casefold() == fold(text) or text == "Λόγος"


def test_where_folding_moves_characters_nothing_is_told() -> None:
    assert as_written("İzmir") == ""
