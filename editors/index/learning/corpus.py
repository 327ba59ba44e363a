"""The corpus that the pair head learns from: relations, their phrasings, and questions that only look alike.

Written for this project (`editors/index/data/corpus/*.toml`, one table a relation; `{s}` stands for the name, `{o}` for an
answer). What the tables list is extended here by rule: the fact asked as yes or no, asked through (two hops), mentioned in
passing, and what people ask of any subject.
"""

import random
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, TypedDict

from editors.index.questions import MASK

# What is asked of an answer: two hops from the subject. By kind of answer; "" for those of every kind.
_TWO_HOPS = {
    "": ("What is {n} best known for?", "Tell me more about {n}.", "What is the history of {n}?"),
    "person": (
        "Who is the spouse of {n}?",
        "Where was {n} born?",
        "When was {n} born?",
        "What is the nationality of {n}?",
        "What else did {n} do?",
        "Which university did {n} attend?",
        "What is the mother tongue of {n}?",
        "What is the occupation of {n}?",
        "What other notable work did {n} create?",
    ),
    "city": (
        "What is the population of {n}?",
        "Who is the mayor of {n}?",
        "In which country is {n}?",
        "Which river flows through {n}?",
        "What is a famous landmark in {n}?",
    ),
    "country": (
        "What is the capital of {n}?",
        "What is the currency of {n}?",
        "What language is spoken in {n}?",
        "On which continent is {n}?",
        "Who is the head of state of {n}?",
        "What is the population of {n}?",
    ),
    "place": (
        "How large is {n}?",
        "Who governs {n}?",
        "What is the climate of {n}?",
        "What is the capital of {n}?",
    ),
    "organisation": (
        "When was {n} founded?",
        "Who is the head of {n}?",
        "Where is {n} based?",
        "What does {n} do?",
    ),
    "company": (
        "Who is the chief executive of {n}?",
        "Where is the headquarters of {n}?",
        "Who founded {n}?",
        "What else does {n} make?",
    ),
    "work": ("Who wrote {n}?", "When did {n} come out?", "Who directed {n}?", "What is the genre of {n}?"),
    "language": ("How many people speak {n}?", "Which alphabet does {n} use?", "Where else is {n} spoken?"),
    "genre": ("Where did {n} originate?", "Name another example of {n}.", "What are the features of {n}?"),
    "species": ("What does {n} eat?", "Where does {n} live?"),
    "award": ("Who else won {n}?", "When was {n} first given?"),
    "sport": ("How many players are in a team of {n}?", "Who invented {n}?"),
    "team": ("Who coaches {n}?", "Where does {n} play its home games?"),
    "profession": ("What does one earn as {n}?", "What training does one need to be {n}?"),
}
# A relation's name, {l}, in these forms asks it.
_LABEL_FORMS = (
    "{s} {l}",
    "What is {s}'s {l}?",
    "{s}'s {l} is",
    "Which {l} does {s} have?",
    "What {l} does {s} have?",
    "Which {l} does {s} belong to?",
    "Which {l} is {s} part of?",
    "Which {l} is {s} associated with?",
    "What is considered the {l} of {s}?",
    "What serves as the {l} of {s}?",
    "What is the {l} that {s} has?",
    "In terms of {l}, what is to be said of {s}?",
    "I'd like to know the {l} of {s}.",
    "{l} of {s}",
)
_PERSON_LABEL_FORMS = (
    "{s} {l}",
    "Who is {s}'s {l}?",
    "{s}'s {l} is",
    "Who serves as the {l} of {s}?",
    "Who serves as {l} for {s}?",
    "Who acts as {l} in {s}?",
    "Who holds the position of {l} at {s}?",
    "Who currently serves as {l} of {s}?",
    "Which person is the {l} of {s}?",
    "Name the person who is {l} of {s}.",
    "I'd like to know who the {l} of {s} is.",
    "{l} of {s}",
)
_ORGANISATION_LABEL_FORMS = (
    "Which organisation is the {l} of {s}?",
    "Which institution serves as the {l} for {s}?",
    "Which body acts as {l} for {s}?",
)
# Every noun phrase in these forms asks its relation.
_NOUN_FORMS = {
    "": (
        "{n}",
        "{n} is",
        "What is {n}?",
        "What was {n}?",
        "What is the name of {n}?",
        "{n} is what?",
        "{n}, what is it?",
        "Can you tell me {n}?",
    ),
    "person": (
        "{n}",
        "{n} is",
        "Who is {n}?",
        "Who was {n}?",
        "What is the name of {n}?",
        "{n} is who?",
        "{n} is whom?",
        "Can you tell me who {n} is?",
    ),
}
_LIKE = {"people": "person"}
# Of which kinds of subject an answer of a kind is: their questions, asked of the answer, are two hops as well.
_SUBJECTS_OF = {
    "person": (
        "person",
        "athlete",
        "politician",
        "scientist",
        "musician",
        "soldier",
        "artist",
        "writer",
        "actor",
    ),
    "city": ("town",),
    "place": ("town", "country", "river", "mountain", "lake", "island"),
    "country": ("country", "republic"),
    "organisation": ("company", "university", "political party"),
    "company": ("company", "brand", "airline"),
    "team": ("sports club",),
    "language": ("language",),
    "species": ("species", "taxon"),
    "award": ("award",),
    "work": ("film", "book", "song", "work", "video game"),
}
_MASKED = re.compile(rf"\b{MASK}\b")
HOPS_A_NOUN = 6
_NOUNS = "nouns: "  # the topics of relations of which nothing is known but a noun
_YES_NO = (
    "Is {o} {n}?",
    "Is it true that {o} is {n}?",
    "Is {n} {o}?",
    "Isn't {n} {o}?",
    "{n} is {o}, right?",
)
_PASSING = (
    "I wrote a letter about {n} and",
    "Yesterday we talked about {n} for an hour, then went home by",
    "Write a poem about {n}.",
    "How has {n} changed over the years?",
    "Why does {n} matter?",
    "Was there ever a dispute about {n}?",
    "Who was it before {n}?",
    "How do you spell the name of {n}?",
)
# Asked of any subject at all; none of it asks one fact of the tables.
_ANY_SUBJECT = (
    "Tell me about {s}.",
    "What is {s}?",
    "Who is {s}?",
    "What is {s} known for?",
    "Why is {s} famous?",
    "Write a short summary of {s}.",
    "Tell me a joke about {s}.",
    "What do you think of {s}?",
    "Compare {s} with others of its kind.",
    "How do you pronounce {s}?",
    "Translate {s} into French.",
    "A letter about {s} came late, and the answer was",
    "After the talk on {s} everybody went home by",
    "I read about {s} yesterday.",
    "List five facts about {s}.",
    "How old is {s}?",
    "Is {s} real?",
    "Do people like {s}?",
)


class _Table(TypedDict):
    """One relation as the tables write it."""

    name: str
    subject: str
    answer: str
    topic: str
    examples: list[str]
    questions: list[str]
    statements: list[str]
    requests: list[str]
    noun: list[str]
    yes_no: list[str]
    two_hop: list[str]
    near: list[str]


@dataclass(frozen=True)
class Relation:
    """One relation of the corpus, every text masked.

    Attributes:
        phrasings: texts that all ask this fact.
        near_misses: texts that look alike and do not.
    """

    name: str
    topic: str
    phrasings: tuple[str, ...]
    near_misses: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """All relations, and what may be asked of any subject."""

    relations: tuple[Relation, ...]

    @cached_property
    def any_subject(self) -> tuple[str, ...]:
        return tuple(_put(text) for text in _ANY_SUBJECT)

    @cached_property
    def written(self) -> "Corpus":
        """The relations whose phrasings were written, without those of which a noun alone is known."""
        return Corpus(tuple(relation for relation in self.relations if not relation.topic.startswith(_NOUNS)))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every text once."""
        own = (t for r in self.relations for t in (*r.phrasings, *r.near_misses))
        return tuple(dict.fromkeys((*own, *self.any_subject)))

    def bank(self, *, seed: int = 0) -> tuple[str, ...]:
        """Questions of all kinds, of each written relation a phrasing and a near miss."""
        rng = random.Random(seed)  # noqa: S311 - repeatable choice, no secret
        chosen = (
            text
            for relation in self.written.relations
            for group in (relation.phrasings, relation.near_misses)
            for text in rng.sample(group, 1)
        )
        return tuple(dict.fromkeys((*chosen, *self.any_subject)))


def read_corpus() -> Corpus:
    """The corpus of this package."""
    folder = files("editors.index") / "data" / "corpus"
    files_of = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name
    )
    read = [tomllib.loads(file.read_text(encoding="utf-8")) for file in files_of]
    tables = [table for part in read for table in part.get("relation", ())]
    tables += [table for part in read for group in part.get("labels", ()) for table in _label_tables(group)]
    return Corpus(tuple(_relation(table, tables) for table in tables))


def _label_tables(group: dict[str, Any]) -> Iterator[_Table]:
    """Relations of which nothing is known but a noun."""
    for name in group["names"]:
        yield _Table(
            name=name,
            subject="",
            answer=group["answer"],
            topic=f"{_NOUNS}{group['answer']}",
            examples=group["examples"],
            questions=[],
            statements=[],
            requests=[],
            noun=[],
            yes_no=[],
            two_hop=[],
            near=[],
        )


def _relation(table: _Table, tables: Sequence[_Table]) -> Relation:
    name = table["name"]
    # A noun phrase alone, as one types it into a search box, asks for what it stands for.
    nouns = (*table["noun"], f"the {name} of {{s}}")
    person = _LIKE.get(table["answer"], table["answer"]) == "person"
    forms, labels = _NOUN_FORMS["person" if person else ""], _PERSON_LABEL_FORMS if person else _LABEL_FORMS
    if table["answer"] in ("organisation", "company"):
        labels = (*labels, *_ORGANISATION_LABEL_FORMS)
    own = (*table["questions"], *table["statements"], *table["requests"])
    own = (*own, *(form.replace("{l}", name) for form in labels))
    own = (*own, *(form.replace("{n}", noun) for noun in nouns for form in forms))
    near = (*table["two_hop"], *table["near"], *_by_rule(table, nouns), *_through(table, nouns, tables))
    phrasings = tuple(dict.fromkeys(map(_put, own)))
    return Relation(
        name,
        table["topic"],
        phrasings,
        tuple(text for text in dict.fromkeys(map(_put, near)) if text not in phrasings),
    )


def _through(table: _Table, nouns: Sequence[str], tables: Sequence[_Table]) -> Iterator[str]:
    """Questions of other relations, asked of this one's answer."""
    kinds = _SUBJECTS_OF.get(_LIKE.get(table["answer"], table["answer"]), ())
    questions = [q for other in tables if other["subject"] in kinds for q in other["questions"]]
    rng = random.Random(table["name"])  # noqa: S311 - repeatable choice, no secret
    for noun in nouns:
        for question in rng.sample(questions, min(HOPS_A_NOUN, len(questions))):
            yield question.replace("{s}", noun)


def _by_rule(table: _Table, nouns: Sequence[str]) -> Iterator[str]:
    answer, examples = table["answer"], table["examples"]
    for place, text in enumerate(table["yes_no"]):
        yield text.replace("{o}", examples[place % len(examples)])
    for place, noun in enumerate(nouns):
        for text in (*_TWO_HOPS[""], *_TWO_HOPS.get(_LIKE.get(answer, answer), ()), *_PASSING):
            yield text.replace("{n}", noun)
        for text in _YES_NO:
            yield text.replace("{n}", noun).replace("{o}", examples[place % len(examples)])


def named(text: str, name: str) -> str:
    """A text of the corpus with a name in it again."""
    return _MASKED.sub(lambda _: name, text)


def _put(text: str) -> str:
    # As the index reads a live prompt: in small letters.
    return text.casefold().replace("{s}", MASK)
