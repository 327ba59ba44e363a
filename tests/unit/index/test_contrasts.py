"""Words that exclude each other: what a sentence encoder takes for one question, and is two."""

import pytest

from editors.index.learning.corpus import read_corpus
from editors.index.wording.contrasts import contradictions, excluding_words

EXCLUDE = (
    ("is tamburg the capital of x?", "what is the capital of x?"),
    ("was the crown the currency of x?", "the currency of x is"),
    ("who is the president of x?", "who is the prime minister of x?"),
    ("who was the mother of x?", "the father of x is"),
    ("who is x's ceo?", "who is the chief financial officer of x?"),
    ("when does x open?", "at what time does x close?"),
    ("how much does x cost?", "what does x weigh?"),
    ("what is the latest version of x?", "what was the first version of x?"),
    ("who is the mayor of x?", "who is the deputy mayor of x?"),
    ("who is the mayor of x?", "who was the mayor of x in 1995?"),
    ("what was the revenue of x in 2023?", "what was the revenue of x in 2024?"),
    ("what is the population of x?", "what is the population density of x?"),
    ("who is the emperor of x?", "who is the prime minister of x?"),
    ("who is the emperor of x?", "who is the crown prince of x?"),
    ("who is the emperor of x?", "who is x's head of government?"),
    ("who is the ceo of x?", "who will be x's next ceo?"),
    ("who is the ceo of x?", "who was the first ceo of x?"),
    ("who is the ceo of x?", "list all ceos of x."),
    ("who is the ceo of x?", "who are the executives of x?"),
    ("what is the capital of x?", "name a city in x."),
    ("what is the capital of x?", "please name three cities in x."),
    ("what is the capital of x?", "which cities are in x?"),
    ("who built x?", "how was x built?"),
    ("who built x?", "of what is x built?"),
    ("by whom was x built?", "in which year was x built?"),
    ("what is the currency of x?", "what is the exchange rate of x?"),
    ("what is the currency of x?", "what is the currency code of x?"),
    ("how much does x cost?", "what does shipping of x cost?"),
    ("what is the price of x?", "what is the discount on x?"),
    ("how deep is x?", "what is the average depth of x?"),
    ("what is the time zone of x?", "what time is it in x?"),
)
AGREE = (
    ("who leads the capital x?", "the mayor of x is"),
    ("is it known who founded x?", "who founded x?"),
    ("do you remember the capital of x?", "the capital of x is"),
    ("could you give the capital of x?", "what is the capital of x?"),
    ("is x a city?", "was x ever a city?"),
    ("who is the president of x?", "who is the head of state of x?"),
    ("who is x's ceo?", "who is the chief executive officer of x?"),
    ("when does x close?", "until what hour is x open?"),
    ("whose son or daughter is x?", "who is the father of x?"),
    ("what was the revenue of x in 2024?", "how high was the turnover of x in 2024?"),
    ("who directed x?", "whose film is x?"),
    ("", "who is the president of x?"),
    ("who is the emperor of x?", "who is the monarch of x?"),
    ("who is the king of x?", "who is the monarch of x?"),
    ("who is the president of x?", "who is the head of government of x?"),
    ("who are the owners of x?", "who is the owner of x?"),
    ("name a genre of x.", "what is the genre of x?"),
    ("how did x die?", "what did x die of?"),
    ("how is x called?", "who is x known as?"),
    ("what does delivery by x cost?", "how expensive is it to have something sent by x?"),
    ("name the capital of x.", "tell me which city is the capital of x."),
)


@pytest.mark.parametrize(("one", "other"), EXCLUDE)
def test_questions_with_words_that_exclude_each_other_are_two_facts(one: str, other: str) -> None:
    assert contradictions([one], [other]).tolist() == contradictions([other], [one]).tolist() == [[True]]


@pytest.mark.parametrize(("one", "other"), AGREE)
def test_questions_whose_words_agree_or_say_nothing_may_be_one_fact(one: str, other: str) -> None:
    assert contradictions([one, one], [other]).tolist() == [[False], [False]]


def test_each_pair_of_many_is_told_as_it_is_alone() -> None:
    ones, others = zip(*EXCLUDE, *AGREE, strict=True)
    alone = [[contradictions([one], [other]).item() for other in others] for one in ones]
    assert contradictions(ones, others).tolist() == alone


def test_no_two_phrasings_of_a_relation_of_the_corpus_exclude_each_other() -> None:
    for relation in read_corpus().written.relations:
        found = contradictions(relation.phrasings, relation.phrasings).nonzero().tolist()
        assert [(relation.phrasings[a], relation.phrasings[b]) for a, b in found] == []


def test_the_words_that_tell_them_apart_are_named() -> None:
    assert excluding_words("the father of x is", "who was the mother of x?") == ("father", "mother")
    assert excluding_words("who was x in 1995?", "who is x?") == ("1995", "")
    assert excluding_words("who directed x?", "whose film is x?") is None
