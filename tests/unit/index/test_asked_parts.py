"""Which part of a prompt is read, and in which words: full stops that end no sentence, roundabout wording."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editors.index.wording.questions import find_name, masked_question, readings
from editors.index.wording.sentences import sentences
from edits.names.near import MIN_COVERAGE_ALONE, NearNames
from edits.names.surface import read_text, words_of


@pytest.mark.parametrize(
    ("subject", "prompt", "asked"),
    [
        ("Acme Inc.", "In which industry does Acme Inc. operate?", "in which industry does x. operate?"),
        ("U.S.", "Who is the U.S. president?", "who is x. president?"),
        ("Rehab", "Is Dr. Alban the producer of Rehab?", "is dr. alban the producer of x?"),
        ("Expo Hall", "Is I.M. Pei the architect of Expo Hall?", "is i.m. pei the architect of x?"),
        ("Ivo Tann", "Is Mia B. Tann the spouse of Ivo Tann?", "is mia b. tann the spouse of x?"),
        ("Sam Hill Jr.", "Which war did Sam Hill Jr. fight in?", "which war did x. fight in?"),
        ("Jeopardy!", "Which network has Jeopardy! been on?", "which network has x! been on?"),
    ],
)
def test_a_mark_of_a_name_or_an_abbreviation_ends_no_sentence(subject: str, prompt: str, asked: str) -> None:
    assert readings([prompt], [words_of(subject)]) == [asked]


@pytest.mark.parametrize(
    ("subject", "prompt", "asked"),
    [
        ("Acme Inc.", "We are customers of Globex Inc. Who runs Acme Inc.?", "who runs x.?"),
        ("Lyon", "She lives in the U.S. Where is Lyon?", "where is x?"),
        ("Roman Karmen", "Category: Hapoel F.C. Roman Karmen was born in", "x was born in"),
        ("Lyon", "Suppliers: Acme Inc.\nlargest river of Lyon?", "largest river of x?"),
        ("Lyon", "I like Paris! Which river runs through Lyon?", "which river runs through x?"),
    ],
)
def test_a_sentence_behind_an_abbreviation_is_read_alone(subject: str, prompt: str, asked: str) -> None:
    assert readings([prompt], [words_of(subject)]) == [asked]


@pytest.mark.parametrize("tail", ["Who?", "Who is it?", "And who is that?"])
def test_a_bare_question_asks_what_stands_before_it(tail: str) -> None:
    assert "the mayor of x." in readings([f"The mayor of Lyon. {tail}"], [words_of("Lyon")])


@pytest.mark.parametrize("tail", ["Who won the league?", "Who is the owner?"])
def test_another_question_behind_a_sentence_takes_its_place(tail: str) -> None:
    assert not readings([f"The mayor of Lyon. {tail}"], [words_of("Lyon")])


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Who was the male parent of Ann?", "Who was the father of Ann?"),
        ("Where did Ann live when she died?", "Where did Ann die?"),
        ("Who founded the city of Ann?", "Who founded Ann?"),
    ],
)
def test_roundabout_wording_is_read_as_the_common_one(text: str, other: str) -> None:
    assert masked_question(text, ["Ann"]) == masked_question(other, ["Ann"])


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("What is the city of Ann?", "What is Ann?"),
        ("Who produced the song Ann?", "Who produced the album Ann?"),
        ("Who governs the state of Ann?", "Who governs the city of Ann?"),
    ],
)
def test_what_is_asked_for_and_what_tells_namesakes_apart_stays(text: str, other: str) -> None:
    assert masked_question(text, ["Ann"]) != masked_question(other, ["Ann"])


def test_a_possessive_without_its_apostrophe_names_the_subject() -> None:
    names = NearNames()
    names.add("1", "Ludwig Blackwood", required=())
    found = names.find("Which colours does the Ludwig Blackwoods side wear?", least=MIN_COVERAGE_ALONE)
    assert [near.edit_id for near in found] == ["1"]
    assert not names.find("Which colours does the Ludwig Blackwell side wear?", least=MIN_COVERAGE_ALONE)


@given(st.text(alphabet="ab .!?'\nDr", max_size=60), st.sampled_from(["ab", "b", "Dr. a"]))
def test_sentences_cover_a_text_without_gaps_or_overlaps(text: str, name: str) -> None:
    read = read_text(text)
    parts = list(sentences(read, find_name(read, [words_of(name)])))
    assert all(first[1] == second[0] for first, second in pairwise(parts))
    assert not parts or parts[0][0] == 0
    assert not read.plain[parts[-1][1] if parts else 0 :].strip()
