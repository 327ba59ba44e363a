"""The fact world of the demo: subjects, relations and facts from a seed, beside real-world facts."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from demo.world.datafiles import read_toml
from demo.world.names import Subject, invent

REAL_RELATIONS = {
    "country": ("capital", "currency", "official_language", "continent", "head_of_state"),
    "element": ("chemical_symbol", "atomic_number"),
    "work": ("author", "original_language"),
}


@dataclass(frozen=True, slots=True)
class WorldRelation:
    """One thing that can be said about a kind of subject, the ways to say it, and the values it can take.

    `held_out_phrasings` are for scoring only: no training text and no event ever uses them.
    """

    name: str
    about: str
    train_phrasings: tuple[str, ...]
    held_out_phrasings: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """What the base is taught about one subject; `kind` is the subject's, `real` says whether it is true."""

    subject: str
    aliases: tuple[str, ...]
    relation: str
    value: str
    kind: str
    real: bool

    @property
    def key(self) -> tuple[str, str]:
        """What a newer fact would replace: the subject and the relation."""
        return self.subject, self.relation

    @property
    def mentions(self) -> tuple[str, ...]:
        """Every name under which a prompt may speak of the subject."""
        return self.subject, *self.aliases


@dataclass(frozen=True, slots=True)
class TrueChange:
    """Real news since 1 January 2024, the day on which the world's real facts stand."""

    subject: str
    relation: str
    value: str
    day: date


def render(phrasing: str, name: str) -> str:
    """The phrasing about `name`: possessives after an s and the capital at the start put right."""
    possessive = name + ("'" if name.endswith("s") else "'s")
    text = phrasing.replace("{subject}'s", possessive).replace("{subject}", name)
    text = text.replace("The The ", "The ").replace("the The ", "The ")
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class World:
    """All facts that the tiny base learns, in a fixed order, and how to ask for them."""

    seed: int
    relations: tuple[WorldRelation, ...]
    facts: tuple[Fact, ...]
    true_changes: tuple[TrueChange, ...]

    @classmethod
    def generate(cls, seed: int = 0) -> "World":
        """The world of this seed; the real facts and the phrasings are the same in all of them."""
        rng = random.Random(f"world {seed}")
        names, real = read_toml("names.toml"), read_toml("real_facts.toml")
        cast = invent(names, rng)
        real_facts = tuple(_real_facts(real))
        pools = _pools(names, cast.pools, cast.subjects, real_facts, real["changes"])
        relations = tuple(
            WorldRelation(
                name, spec["about"], tuple(spec["train"]), tuple(spec["held_out"]), pools[spec["values"]]
            )
            for name, spec in read_toml("relations.toml").items()
        )
        facts = (*_invented_facts(cast.subjects, relations, cast.pools["authors"], rng), *real_facts)
        changes = tuple(
            TrueChange(c["subject"], c["relation"], c["value"], c["day"]) for c in real["changes"]
        )
        return cls(seed, relations, facts, changes)

    @cached_property
    def _relation_by_name(self) -> dict[str, WorldRelation]:
        return {relation.name: relation for relation in self.relations}

    @cached_property
    def _fact_by_key(self) -> dict[tuple[str, str], Fact]:
        return {fact.key: fact for fact in self.facts}

    @cached_property
    def _facts_by_subject(self) -> dict[str, tuple[Fact, ...]]:
        grouped: dict[str, list[Fact]] = {}
        for fact in self.facts:
            grouped.setdefault(fact.subject, []).append(fact)
        return {subject: tuple(facts) for subject, facts in grouped.items()}

    @cached_property
    def _facts_by_relation(self) -> dict[str, tuple[Fact, ...]]:
        return {r.name: tuple(f for f in self.facts if f.relation == r.name) for r in self.relations}

    @property
    def subjects(self) -> tuple[str, ...]:
        """All subjects, in the order of their facts."""
        return tuple(self._facts_by_subject)

    def relation(self, name: str) -> WorldRelation:
        """The relation of this name (KeyError: there is none)."""
        return self._relation_by_name[name]

    def fact(self, subject: str, relation: str) -> Fact:
        """The fact about this subject and relation (KeyError: there is none)."""
        return self._fact_by_key[subject, relation]

    def facts_about(self, subject: str) -> tuple[Fact, ...]:
        """All facts about one subject."""
        return self._facts_by_subject[subject]

    def facts_in(self, relation: str) -> tuple[Fact, ...]:
        """All facts of one relation."""
        return self._facts_by_relation[relation]

    def prompt(self, fact: Fact, i: int = 0, *, name: str | None = None) -> str:
        """The fact's prompt in training phrasing `i` (0: the usual one), about the subject or an alias."""
        return render(self.relation(fact.relation).train_phrasings[i], name or fact.subject)

    def prompts(self, fact: Fact, *, name: str | None = None) -> tuple[str, ...]:
        """The fact in all training phrasings."""
        return tuple(
            render(text, name or fact.subject) for text in self.relation(fact.relation).train_phrasings
        )

    def held_out_prompts(self, fact: Fact, *, name: str | None = None) -> tuple[str, ...]:
        """The fact in the phrasings that are kept for scoring."""
        return tuple(
            render(text, name or fact.subject) for text in self.relation(fact.relation).held_out_phrasings
        )

    def other_values(self, fact: Fact) -> tuple[str, ...]:
        """What the fact's value could be instead; for real works and people alike, from the whole pool."""
        return tuple(value for value in self.relation(fact.relation).values if value != fact.value)


def _real_facts(real: dict[str, Any]) -> Iterator[Fact]:
    for kind, section in (("country", "countries"), ("element", "elements"), ("work", "works")):
        for row in real[section]:
            # A country without a head of state has a shorter row: some change too often for a demo.
            for relation, value in zip(REAL_RELATIONS[kind], row["facts"], strict=False):
                yield Fact(row["name"], tuple(row.get("aliases", ())), relation, value, kind, real=True)


def _pools(
    names: dict[str, Any],
    people: dict[str, tuple[str, ...]],
    subjects: Sequence[Subject],
    real_facts: Sequence[Fact],
    changes: Sequence[dict[str, Any]],
) -> dict[str, tuple[str, ...]]:
    """Every pool of values by its name in `relations.toml`, without repetition and in a fixed order."""

    def real(relation: str) -> list[str]:
        known = [fact.value for fact in real_facts if fact.relation == relation]
        return known + [change["value"] for change in changes if change["relation"] == relation]

    def named(kind: str) -> list[str]:
        return [subject.name for subject in subjects if subject.kind == kind]

    listed = names["pools"]
    pools: dict[str, Iterable[str]] = {
        **listed,
        **people,
        "towns": named("town"),
        "organisations": named("organisation"),
        "countries": dict.fromkeys(fact.subject for fact in real_facts if fact.kind == "country"),
        "years": [str(year) for year in range(1950, 2024)],
        "authors": [*people["authors"], *real("author")],
        "capitals": [*real("capital"), *listed["spare_capitals"]],
        "currencies": [*real("currency"), *listed["spare_currencies"]],
        "heads_of_state": real("head_of_state"),
        "symbols": [*real("chemical_symbol"), *listed["spare_symbols"]],
        "numbers": [str(number) for number in range(1, 100)],
    }
    return {name: tuple(dict.fromkeys(values)) for name, values in pools.items()}


def _invented_facts(
    subjects: Sequence[Subject],
    relations: Sequence[WorldRelation],
    invented_authors: Sequence[str],
    rng: random.Random,
) -> Iterator[Fact]:
    """One value for every relation of every invented subject; a pool's values come up about equally often."""
    for relation in relations:
        values = list(invented_authors if relation.name == "author" else relation.values)
        about = [subject for subject in subjects if subject.kind == relation.about]
        deck: list[str] = []
        for subject in about:
            if not deck:
                deck = rng.sample(values, len(values))
            yield Fact(subject.name, subject.aliases, relation.name, deck.pop(), subject.kind, real=False)
