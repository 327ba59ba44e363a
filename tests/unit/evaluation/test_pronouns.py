"""Second turns: the name of a subject that was just spoken of becomes a pronoun."""

import pytest

from daemon.evaluation.pronouns import HE, IT, SHE, THEY, Pronoun, pronoun_for, refer_back


@pytest.mark.parametrize(
    ("question", "name", "pronoun", "asked"),
    [
        ("Where was Peace Hall built?", "Peace Hall", IT, "Where was it built?"),
        ("What is the Peace Hall made from?", "Peace Hall", IT, "What is it made from?"),
        ("Who designed “Peace Hall”?", "Peace Hall", IT, "Who designed it?"),
        ("What is Peace Hall's roof made from?", "Peace Hall", IT, "What is its roof made from?"),
        ("Ana Berg was born where?", "Ana Berg", SHE, "She was born where?"),
        ("Who taught Ana Berg?", "Ana Berg", SHE, "Who taught her?"),
        ("Who was the father of Ivo Tann?", "Ivo Tann", HE, "Who was the father of him?"),
        ("Where does Ivo Tann live?", "Ivo Tann", HE, "Where does he live?"),
        ("Where does Ivo Tann live?", "Ivo Tann", THEY, "Where do they live?"),
        ("Was Ivo Tann a singer when Ivo Tann died?", "Ivo Tann", THEY, "Were they a singer when they died?"),
        ("Who are James' friends?", "James", THEY, "Who are their friends?"),
        ("What does C++ compile to?", "C++", IT, "What does it compile to?"),
    ],
)
def test_a_name_becomes_the_pronoun_that_its_place_wants(
    question: str, name: str, pronoun: Pronoun, asked: str
) -> None:
    assert refer_back(question, name, pronoun) == asked


@pytest.mark.parametrize(("question", "name"), [("Who built Lyonesse?", "Lyon"), ("Who built LYON?", "Lyon")])
def test_a_question_without_the_name_as_written_is_not_asked(question: str, name: str) -> None:
    assert refer_back(question, name, IT) is None


def test_the_pronoun_is_the_one_that_was_used_before_else_what_the_question_tells() -> None:
    assert pronoun_for("Where was Ana Berg born?", "Ana Berg", "Ana Berg wrote it when she was ten.") is SHE
    assert pronoun_for("Where was Ivo Tann born?", "Ivo Tann", "He built his house.") is HE
    assert pronoun_for("Where was Ana Berg born?", "Ana Berg", "A writer.") is THEY
    assert pronoun_for("Where are the Lorn Hills?", "Lorn Hills", "Hills.") is THEY
    assert pronoun_for("Where is Peace Hall?", "Peace Hall", "A hall.") is IT
