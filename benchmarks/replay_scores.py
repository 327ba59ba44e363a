"""Who answered right at which generation: every fact in every held-out phrasing, against what was told by then."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from replay_timeline import DatedFact, ValueChange

from editors.inference.edited_model import Answer
from edits.text import normalise

Question = tuple[int, str]  # number of the fact, phrasing
Answers = Mapping[Question, Answer]


def questions(facts: Sequence[DatedFact]) -> list[Question]:
    """Every fact in each of its held-out phrasings."""
    return [(number, prompt) for number, fact in enumerate(facts) for prompt in fact.held_out]


def is_same(answer: str, value: str) -> bool:
    """Whether the answer is the value and nothing else; case, spacing and a full stop behind it do not count."""
    return _folded(answer) == _folded(value)


def names(answer: str, value: str) -> bool:
    """Whether the value stands in the answer, in whole words."""
    return re.search(rf"(?<!\w){re.escape(_folded(value))}(?!\w)", _folded(answer)) is not None


def is_stale(answer: str, fact: DatedFact, newest: ValueChange) -> bool:
    """Whether the answer names a value that the fact had before `newest`, and not the one that it has since."""
    older = {c.value for c in fact.changes if c.since < newest.since} - {newest.value}
    return not names(answer, newest.value) and any(names(answer, value) for value in older)


def share(hits: Iterable[bool]) -> float | None:
    """The share that is true; None of none."""
    counted = list(hits)
    return round(sum(counted) / len(counted), 4) if counted else None


@dataclass(frozen=True, slots=True)
class AskedGeneration:
    """One generation: what it answered, and which change of each fact was live in it."""

    generation: int
    answers: Answers
    live: Mapping[int, ValueChange]


@dataclass
class OverTime:
    """Tallies generation after generation; a wave's generations are counted when all its edits are settled."""

    facts: Sequence[DatedFact]
    settled: dict[int, ValueChange] = field(
        default_factory=dict
    )  # the newest change of each fact that was sent
    right: list[bool] = field(default_factory=list)
    stale: list[bool] = field(default_factory=list)
    fired_early: list[bool] = field(default_factory=list)

    def count(self, wave: Sequence[ValueChange], asked: Sequence[AskedGeneration]) -> None:
        """Within a wave the live edits say what is due; with its last generation all of the wave is, rejected or not."""
        for one in asked[:-1]:
            self._count(one, _newest([*self.settled.values(), *one.live.values()]))
        self.settled = _newest([*self.settled.values(), *wave])
        for one in asked[-1:]:
            self._count(one, self.settled)

    def _count(self, asked: AskedGeneration, due: Mapping[int, ValueChange]) -> None:
        for (number, _), answer in asked.answers.items():
            if (change := due.get(number)) is None:
                self.fired_early.append(answer.edit_id is not None)
                continue
            self.right.append(is_same(answer.text, change.value))
            self.stale.append(is_stale(answer.text, self.facts[number], change))


def final_scores(facts: Sequence[DatedFact], answers: Mapping[Question, str]) -> dict[str, float | None]:
    """`right`: is the newest value; `named`: has it among its words; `stale`: names an older one instead."""
    report = [(facts[number], text) for (number, _), text in answers.items()]
    return {
        "right": share(is_same(text, fact.newest.value) for fact, text in report),
        "named": share(names(text, fact.newest.value) for fact, text in report),
        "stale": share(is_stale(text, fact, fact.newest) for fact, text in report),
    }


def _newest(changes: Iterable[ValueChange]) -> dict[int, ValueChange]:
    found: dict[int, ValueChange] = {}
    for change in sorted(changes, key=lambda change: change.since):
        found[change.fact] = change
    return found


def _folded(text: str) -> str:
    return normalise(text).rstrip(".")
