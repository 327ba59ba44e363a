"""Chooses which facts of a world are changed, and which stay untouched for probing locality."""

import random
from dataclasses import dataclass
from functools import cached_property

from demo.world.world import Fact, World

UNTOUCHED_SHARE = 0.4


@dataclass(frozen=True)
class Selection:
    """Facts to change, and the subjects that no change concerns: half of them for events, half for scoring.

    Of a changed subject at least one relation in two stays as it was, where it has more than one.
    """

    world: World
    changed: tuple[Fact, ...]
    subjects_for_events: frozenset[str]
    subjects_for_scoring: frozenset[str]

    @cached_property
    def _changed_keys(self) -> frozenset[tuple[str, str]]:
        return frozenset(fact.key for fact in self.changed)

    def relation_prompts(
        self, fact: Fact, rng: random.Random, count: int, *, for_scoring: bool
    ) -> tuple[str, ...]:
        """Same relation, other untouched subjects, in training phrasings."""
        subjects = self.subjects_for_scoring if for_scoring else self.subjects_for_events
        others = [other for other in self.world.facts_in(fact.relation) if other.subject in subjects]
        chosen = rng.sample(others, min(count, len(others)))
        return tuple(rng.choice(self.world.prompts(other)) for other in chosen)

    def subject_prompts(
        self, fact: Fact, rng: random.Random, count: int, *, for_scoring: bool
    ) -> tuple[str, ...]:
        """Same subject, other relations that nothing changes; events and scoring ask in other words."""
        others = [
            other for other in self.world.facts_about(fact.subject) if other.key not in self._changed_keys
        ]
        chosen = rng.sample(others, min(count, len(others)))
        words = slice(0, None, 2) if for_scoring else slice(1, None, 2)
        return tuple(rng.choice(self.world.prompts(other)[words]) for other in chosen)


def select(world: World, rng: random.Random, count: int) -> Selection:
    """`count` facts to change, true news first.

    Raises:
        ValueError: the world is too small to change so many facts and leave enough untouched.
    """
    news = {(change.subject, change.relation) for change in world.true_changes}
    untouched = _untouched_subjects(world, rng, {subject for subject, _ in news})
    first = [fact for fact in world.facts if fact.key in news]
    others: list[Fact] = []
    for subject in world.subjects:
        if subject in untouched:
            continue
        about = [fact for fact in world.facts_about(subject) if fact.key not in news]
        total = len(world.facts_about(subject))
        others += rng.sample(about, max(0, (total + 1) // 2 - (total - len(about))))
    if count > len(first) + len(others):
        raise ValueError(f"this world has {len(first) + len(others)} facts that may change, not {count}")
    rng.shuffle(others)
    changed = (first + others)[:count]
    split = sorted(untouched)
    rng.shuffle(split)
    return Selection(world, tuple(changed), frozenset(split[::2]), frozenset(split[1::2]))


def _untouched_subjects(world: World, rng: random.Random, in_the_news: set[str]) -> set[str]:
    """The share of each kind's subjects that no change concerns."""
    by_kind: dict[tuple[str, bool], list[str]] = {}
    for subject in world.subjects:
        fact = world.facts_about(subject)[0]
        by_kind.setdefault((fact.kind, fact.real), []).append(subject)
    untouched: set[str] = set()
    for subjects in by_kind.values():
        free = [subject for subject in subjects if subject not in in_the_news]
        untouched.update(rng.sample(free, min(len(free), round(len(subjects) * UNTOUCHED_SHARE))))
    return untouched
