"""Words that exclude each other: "the president of x" and "the prime minister of x" are two facts.

A sentence encoder puts such questions side by side, nearer than many a paraphrase, and a head over its vectors cannot part
what they do not tell apart. So a list says it (`data/contrasts.toml`). It only ever keeps an edit from firing.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import TypeAlias

import torch
from torch import Tensor

from editors.index.wording.asked_for import closed_by, kind_asked_for, several_asked_for

# A group and one of its meanings, each by its place in the list; of a year, the year; of a form, what it asks for.
Meaning: TypeAlias = tuple[int, int | str]
_YEARS, _KINDS, _NUMBERS, _CLOSED = -1, -2, -3, -4
_YEAR = r"(?:1\d|20)\d\d"


@dataclass(frozen=True, slots=True)
class _Lists:
    """The words of all groups, as one pattern that takes the longest at each place.

    Attributes:
        meanings: of each word, in which groups it has which meaning; none where it is harmless.
        qualifying: the groups of which one word on one side alone makes the difference.
        single: what there is one of.
        within: of such a group, the words beside which its words have a meaning.
    """

    pattern: re.Pattern[str]
    meanings: Mapping[str, tuple[Meaning, ...]]
    qualifying: frozenset[int]
    within: Mapping[int, frozenset[str]]
    single: frozenset[str]


def contradictions(texts: Sequence[str], others: Sequence[str]) -> Tensor:
    """Which of the masked texts (n) cannot ask what others (k) ask: booleans (n, k)."""
    ours, theirs = ([frozenset(meanings(text)) for text in side] for side in (texts, others))
    # Most texts have no such word at all, and those that have share a few.
    columns = {one: n for n, one in enumerate(dict.fromkeys(theirs))}
    found = [[_excluding_group(one, other) is not None for other in columns] for one in ours]
    table = torch.tensor(found, dtype=torch.bool).reshape(len(ours), len(columns))
    return table[:, [columns[one] for one in theirs]]


def excluding_words(text: str, other: str) -> tuple[str, str] | None:
    """The words by which two masked texts ask different facts, "" where one of them has none; None: nothing tells so."""
    group = _excluding_group(*(frozenset(meanings(one)) for one in (text, other)))
    if group is None:
        return None
    ours, theirs = (
        next((word for (of, _), word in meanings(one).items() if of == group), "") for one in (text, other)
    )
    return ours, theirs


@lru_cache(maxsize=1 << 14)
def meanings(text: str) -> Mapping[Meaning, str]:
    """The meanings that a masked text has in the groups of the lists, with the words that say them."""
    lists, found = _lists(), dict[Meaning, str]()
    words = lists.pattern.findall(text)
    for word in words:
        found |= dict.fromkeys(lists.meanings.get(word, ((_YEARS, word),)), word)
    found |= {(_KINDS, kind): word for kind, word in kind_asked_for(text)}
    if closed := closed_by(text):
        found[_CLOSED, "yes or no"] = closed
    if several := several_asked_for(text):
        found[_NUMBERS, "several"] = several
    elif single := next((word for word in words if word in lists.single), None):
        found[_NUMBERS, "one"] = single
    idle = {group for group, beside in lists.within.items() if beside.isdisjoint(words)}
    return {meaning: word for meaning, word in found.items() if meaning[0] not in idle}


@lru_cache(maxsize=1 << 14)
def _excluding_group(one: frozenset[Meaning], other: frozenset[Meaning]) -> int | None:
    for group in sorted({group for group, _ in one ^ other}):
        a, b = ({meaning for of, meaning in side if of == group} for side in (one, other))
        if not a & b and (group in _lists().qualifying or (a and b)):
            return group
    return None


@cache
def _lists() -> _Lists:
    read = tomllib.loads((files("editors.index") / "data" / "contrasts.toml").read_text(encoding="utf-8"))
    within = read["within"]
    groups = [*read["exclusive"], *read["qualifying"], *(one["meanings"] for one in within)]
    found: dict[str, tuple[Meaning, ...]] = dict.fromkeys(read["harmless"], ())
    found |= {word: () for words in (read["single"], *(one["of"] for one in within)) for word in words}
    for n, group in enumerate(groups):
        for meaning, words in enumerate(group):
            for word in words:
                found[word] = (*found.get(word, ()), (n, meaning))
    longest_first = sorted(map(re.escape, found), key=len, reverse=True)
    first_within = len(groups) - len(within)
    return _Lists(
        re.compile(rf"\b(?:{'|'.join(longest_first)}|{_YEAR})\b"),
        found,
        frozenset((*range(len(read["exclusive"]), len(groups)), _YEARS, _CLOSED)),
        {first_within + n: frozenset(one["of"]) for n, one in enumerate(within)},
        frozenset(read["single"]),
    )
