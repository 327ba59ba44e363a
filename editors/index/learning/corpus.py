"""The corpus that the pair head learns from: relations, their phrasings, and questions that only look alike.

Written for this project (`editors/index/data/corpus/*.toml`, one table a relation; `{s}` stands for the name, `{o}` for an
answer; of `verbs` the sentences are made by rule). What the tables list is extended here by rule: the fact asked as yes or
no, asked through (two hops), mentioned in passing, and what people ask of any subject.
"""

import random
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, TypedDict

from editors.index.learning import forms
from editors.index.wording.questions import MASK

_MASKED = re.compile(rf"\b{MASK}\b")
# A verb is no noun: nobody asks for "the influenced by of x".
_VERB_NAME = re.compile(r"(?:.* (?:by|to|after|on|in|for)|follows|replaces|afflicts)")
_NOUNS = "nouns: "  # the topics of relations of which nothing is known but a noun
HOPS_A_NOUN = 6
_LIKE = {"people": "person"}
KINDS_WITH_NOUNS = 2  # of a verb's kinds so many make noun phrases too


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


_EMPTY = _Table(
    name="",
    subject="",
    answer="",
    topic="",
    examples=[],
    questions=[],
    statements=[],
    requests=[],
    noun=[],
    yes_no=[],
    two_hop=[],
    near=[],
)


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
        return tuple(_put(text) for text in forms.ANY_SUBJECT)

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
    tables: list[_Table] = [{**_EMPTY, **table} for part in read for table in part.get("relation", ())]
    tables += [
        _verb_table(verb, group)
        for part in read
        for group in part.get("verbs", ())
        for verb in group["relations"]
    ]
    tables += [table for part in read for group in part.get("labels", ()) for table in _label_tables(group)]
    return Corpus(tuple(_relation(table, tables) for table in tables))


def _label_tables(group: dict[str, Any]) -> Iterator[_Table]:
    """Relations of which nothing is known but a noun."""
    for name in group["names"]:
        yield {
            **_EMPTY,
            "name": name,
            "answer": group["answer"],
            "topic": f"{_NOUNS}{group['answer']}",
            "examples": group["examples"],
        }


def _verb_table(verb: dict[str, Any], group: dict[str, Any]) -> _Table:
    """A relation of which its verb is known: what it was done by, active and passive, and the other way round."""
    bare, _, by = verb["done"].rpartition(" ")
    words = {"{done}": verb["done"], "{did}": verb["did"], "{do}": verb["do"], "{bare}": bare, "{by}": by}

    def made(written: Sequence[str], kinds: Sequence[str] = ("",)) -> list[str]:
        return [_filled(form, {**words, "{kind}": kind}) for kind in kinds for form in written]

    kinds = verb["kinds"]
    return {
        **_EMPTY,
        "name": verb["name"],
        "answer": group["answer"],
        "topic": group["topic"],
        "examples": group["examples"],
        "questions": made(forms.VERB_QUESTIONS) + made(forms.KIND_QUESTIONS, kinds) + verb["more"],
        "statements": made(forms.VERB_STATEMENTS),
        "requests": made(forms.VERB_REQUESTS),
        "noun": made(forms.KIND_NOUNS, kinds[:KINDS_WITH_NOUNS]),
        "yes_no": made(forms.VERB_YES_NO),
        "near": made(forms.VERB_NEAR) + made(forms.KIND_NEAR, kinds) + verb["near"],
    }


def _filled(form: str, words: dict[str, str]) -> str:
    for place, word in words.items():
        form = form.replace(place, word)
    return form


def _relation(table: _Table, tables: Sequence[_Table]) -> Relation:
    name = table["name"]
    # A noun phrase alone, as one types it into a search box, asks for what it stands for.
    verb = _VERB_NAME.fullmatch(name) is not None
    nouns = (*table["noun"], *(() if verb else (f"the {name} of {{s}}",)))
    person = _LIKE.get(table["answer"], table["answer"]) == "person"
    asked, labels = forms.NOUN_FORMS["person" if person else ""], _labels(table, person=person, verb=verb)
    own = (*table["questions"], *table["statements"], *table["requests"])
    own = (*own, *(form.replace("{l}", name) for form in labels))
    own = (*own, *(form.replace("{n}", noun) for noun in nouns for form in asked))
    near = (*table["two_hop"], *table["near"], *_by_rule(table, nouns), *_through(table, nouns, tables))
    phrasings = tuple(dict.fromkeys(map(_put, own)))
    return Relation(
        name,
        table["topic"],
        phrasings,
        tuple(text for text in dict.fromkeys(map(_put, near)) if text not in phrasings),
    )


def _labels(table: _Table, *, person: bool, verb: bool) -> tuple[str, ...]:
    if verb:
        return forms.VERB_LABEL_FORMS
    if person:
        return forms.PERSON_LABEL_FORMS
    organisation = table["answer"] in ("organisation", "company")
    return (*forms.LABEL_FORMS, *(forms.ORGANISATION_LABEL_FORMS if organisation else ()))


def _through(table: _Table, nouns: Sequence[str], tables: Sequence[_Table]) -> Iterator[str]:
    """Questions of other relations, asked of this one's answer."""
    kinds = forms.SUBJECTS_OF.get(_LIKE.get(table["answer"], table["answer"]), ())
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
        for text in (*forms.TWO_HOPS[""], *forms.TWO_HOPS.get(_LIKE.get(answer, answer), ()), *forms.PASSING):
            yield text.replace("{n}", noun)
        for text in forms.YES_NO:
            yield text.replace("{n}", noun).replace("{o}", examples[place % len(examples)])


def named(text: str, name: str) -> str:
    """A text of the corpus with a name in it again."""
    return _MASKED.sub(lambda _: name, text)


def _put(text: str) -> str:
    # As the index reads a live prompt: in small letters.
    return text.casefold().replace("{s}", MASK)
