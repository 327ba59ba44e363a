"""Invents the subjects of the fact world: who and what there is, under which names, from a seed."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PEOPLE = 90
WORKS = 40
MAYORS, EXECUTIVES, DESIGNERS, AUTHORS = 30, 26, 22, 24


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody or something that facts are about: its usual name, and others that people use for it."""

    name: str
    kind: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cast:
    """All invented subjects, and the names of people who are only ever the answer to a question."""

    subjects: tuple[Subject, ...]
    pools: dict[str, tuple[str, ...]]


def invent(names: dict[str, Any], rng: random.Random) -> Cast:
    """The invented part of the world, put together from the bricks of `demo/data/names.toml`."""
    full_names = [f"{first} {last}" for first in names["first_names"] for last in names["last_names"]]
    rng.shuffle(full_names)
    drawn = iter(full_names)
    people = _people([next(drawn) for _ in range(PEOPLE)], names["titles"], rng)
    pools = {
        "mayors": _draw(drawn, MAYORS),
        "executives": _draw(drawn, EXECUTIVES),
        "designers": _draw(drawn, DESIGNERS),
        "authors": _draw(drawn, AUTHORS),
    }
    return Cast(
        subjects=(
            *people,
            *_towns(names, rng),
            *_two_word("organisation", names["organisation_firsts"], names["organisation_seconds"], rng),
            *_two_word("product", names["product_firsts"], names["product_seconds"], rng),
            *_works(names, rng),
        ),
        pools=pools,
    )


def _draw(drawn: Iterable[str], count: int) -> tuple[str, ...]:
    return tuple(name for name, _ in zip(drawn, range(count), strict=False))


def _people(full_names: Sequence[str], titles: Sequence[str], rng: random.Random) -> list[Subject]:
    """People, most of them with an initial or a title as alias where that names nobody else."""
    taken: set[str] = set(full_names)
    people = []
    for name in full_names:
        first, last = name.split(" ", 1)
        wanted = []
        if rng.random() < 0.6:
            wanted.append(f"{first[0]}. {last}")
        if rng.random() < 0.4:
            wanted.append(f"{rng.choice(titles)} {last}")
        aliases = tuple(alias for alias in wanted if alias not in taken)
        taken.update(aliases)
        people.append(Subject(name, "person", aliases))
    return people


def _towns(names: dict[str, Any], rng: random.Random) -> list[Subject]:
    nicknames = [f"the {first} {rng.choice(names['nickname_seconds'])}" for first in names["nickname_firsts"]]
    rng.shuffle(nicknames)
    towns = list(names["towns"])
    nicknamed = dict(zip(rng.sample(towns, len(nicknames)), nicknames, strict=True))
    return [Subject(town, "town", (nicknamed[town],) if town in nicknamed else ()) for town in towns]


def _two_word(kind: str, firsts: Sequence[str], seconds: Sequence[str], rng: random.Random) -> list[Subject]:
    """Names such as "Calderon Foundry", half of them also known by the first part alone."""
    return [
        Subject(f"{first} {rng.choice(seconds)}", kind, (first,) if rng.random() < 0.5 else ())
        for first in firsts
    ]


def _works(names: dict[str, Any], rng: random.Random) -> list[Subject]:
    titles = [f"{first} {second}" for first in names["title_firsts"] for second in names["title_seconds"]]
    return [
        Subject(f"The {title}", "work", (title,) if rng.random() < 0.5 else ())
        for title in rng.sample(titles, WORKS)
    ]
