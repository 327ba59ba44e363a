"""One hop more: a question about the answer is not the question itself."""

import pytest

from editors.index.hops import further_hop, further_hops
from editors.index.learning.corpus import read_corpus

HOPS = (
    ("who is the architect of x?", "who was the mentor of the architect of x?", "mentor"),
    ("what is the highest point of x?", "what is the elevation of the highest point of x?", "elevation"),
    ("the central bank of x is", "who is the current governor of the central bank of x?", "governor"),
    ("what was x followed by?", "who is the artist of the song that x was followed by?", "artist"),
    ("what is the game mode of x?", "what is the main objective in the game mode of x?", "objective"),
    ("what is the headquarters of x?", "in which state is the headquarters of x located?", "state"),
    ("what is the place of birth of x?", "on which continent was the place of birth of x?", "continent"),
    ("what does x afflict?", "what is a common symptom of the condition that x afflicts?", "symptom"),
    ("which team does x play for?", "who is the owner of the team that x plays for?", "owner"),
)
THE_SAME = (
    ("who is the architect of x?", "what is the name of the architect of x?"),
    ("where is the headquarters of x?", "in which city is the headquarters of x?"),
    ("in which country is the source of x?", "what is the country in which the source of x lies?"),
    ("in which state is the summit of x?", "the state of the summit of x is"),
    ("who is the coach of x?", "who is the person in the role of the coach of x?"),
    ("who is the head of x?", "the person responsible for the head of x"),
    ("when did x die?", "what was the year of the death of x?"),
    ("how high is the summit of x?", "what is the elevation of the summit of x?"),
    ("who found the proof of x?", "who is the author of the proof of x?"),
    ("what is the mouth of the watercourse of x?", "which waters receive x?"),
    ("who is the author of the screenplay of x?", "who wrote the screenplay of x?"),
    ("", "who was the mentor of the architect of x?"),
)


@pytest.mark.parametrize(("one", "other", "noun"), HOPS)
def test_what_is_asked_of_the_answer_is_another_question(one: str, other: str, noun: str) -> None:
    assert further_hop(one, other) == further_hop(other, one) == noun
    assert further_hops([one, one], [other, one]).tolist() == [[True, False]] * 2


@pytest.mark.parametrize(("one", "other"), THE_SAME)
def test_a_longer_way_to_ask_for_the_same_is_no_hop(one: str, other: str) -> None:
    assert further_hop(one, other) is further_hop(other, one) is None
    assert further_hops([one], [other, one]).tolist() == [[False, False]]


def test_no_two_phrasings_of_a_relation_of_the_corpus_are_a_hop_apart() -> None:
    for relation in read_corpus().written.relations:
        found = further_hops(relation.phrasings, relation.phrasings).nonzero().tolist()
        assert [(relation.phrasings[a], relation.phrasings[b]) for a, b in found] == []


@pytest.mark.parametrize("word", ["the ", "the a of the ", "what is the a of the b that ", "x "])
def test_a_text_of_any_length_is_read_in_time_that_grows_with_it(word: str) -> None:
    text = word * 3_000
    assert further_hop(text, "who is the architect of x?") is None
