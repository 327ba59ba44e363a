"""What people put around a question: instructions before it, blanks in it, thanks and remarks behind it."""

import pytest

from editors.index.wording.questions import readings
from edits.names.surface import words_of

QUESTION = "What is the capital of Norland?"
ASKED = "what is the capital of x?"


def asked(prompt: str) -> list[str]:
    return readings([prompt], [words_of("Norland")])


@pytest.mark.parametrize(
    "prompt",
    [
        f"Please answer in one word: {QUESTION}",
        f"Answer the following question: {QUESTION}",
        f"In one sentence: {QUESTION}",
        f"Here is my question: {QUESTION}",
        f"{QUESTION} Thanks in advance, Tom",
        f"{QUESTION} I think it is Tamburg but I am not sure",
        f"{QUESTION} Answer in one word",
        f"{QUESTION} Give a short answer in Norlandic.",
        f"Please answer briefly: {QUESTION} Thanks a lot for it, Tom",
    ],
)
def test_what_stands_around_a_question_changes_nothing(prompt: str) -> None:
    assert ASKED in asked(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "Fill in the blank: the capital of Norland is ____.",
        "Complete the sentence: The capital of Norland is [blank]",
        "The capital of Norland is ___",
    ],
)
def test_a_blank_at_the_end_is_what_is_asked_for(prompt: str) -> None:
    assert "the capital of x is" in asked(prompt)


def test_a_blank_at_the_beginning_is_what_is_asked_for() -> None:
    assert "what is the capital of x." in asked("Fill in the blank: ____ is the capital of Norland.")


@pytest.mark.parametrize(
    "prompt",
    [
        f"Translate to Norlandic: {QUESTION}",
        f"Answer with yes or no: {QUESTION}",
        f"Write a poem: {QUESTION}",
    ],
)
def test_behind_another_task_no_question_stands_alone(prompt: str) -> None:
    assert ASKED not in asked(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        f"Q: {QUESTION}\nA: Tamburg\nQ: What is the capital of Ostland?\nA:",
        f"Q: {QUESTION}\nA: Tamburg\nQ: Name the capital of Ostland.\nA:",
        f"{QUESTION} Tamburg. Now tell me the capital of Ostland.",
        f"{QUESTION} Tamburg. The capital of Ostland is",
        f"{QUESTION} I think that the capital of Ostland is",
    ],
)
def test_a_question_that_is_only_an_example_asks_nothing(prompt: str) -> None:
    assert not any("capital of x" in text for text in asked(prompt))
