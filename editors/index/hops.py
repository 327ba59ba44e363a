"""One hop more: "the mentor of the architect of x" asks about the architect, not who it is.

A sentence encoder reads it as the shorter question with a few words in front, so the structure is read instead: a noun,
asked of another noun that x belongs to, or the place where that lies ("in which state is the headquarters of x"). Nouns
that ask for the thing itself ("the name of the architect of x", "the year of the death of x") are no hop; the list is in
`data/hops.toml`. It only ever keeps an edit from firing.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import torch
from torch import Tensor

_ASKED = r"\b(?:the|an?|what|which)(?: [\w'-]+){0,2}? (?P<noun>[\w'-]+) "
_ANSWER = r"(?P<answer>(?:[\w/()'-]+ ){1,5}?)(?:of|in|for|at) x\b"
# "the NOUN of the (answer) of x", and "the NOUN of the ... that x ..."; bounded everywhere, for texts are hostile.
_OF_A_NOUN = re.compile(_ASKED + r"(?:of|in|behind) (?:the|an?) " + _ANSWER)
# "in which PLACE is the (answer) of x": where the answer lies.
_PLACE = r"(?P<noun>state|province|country|nation|continent|region|county|hemisphere)"
_OF_A_PLACE = re.compile(
    rf"\b(?:in|on|at) (?:which|what) {_PLACE} (?:is|was|are|were|lies) (?:the|an?) " + _ANSWER
)
_OF_A_CLAUSE = re.compile(
    _ASKED + r"of (?:the|an?) (?:[\w/()'-]+ ){1,4}?(?:that|who|which|whom|whose|where|by) "
    r"(?P<answer>(?:[\w/()',-]+ ){0,6}?x\b(?: [\w'-]+){0,6})"
)
# "what is the (answer) of x", "the (answer) of x is".
_DIRECT = re.compile(
    r"(?:^|\b(?:what|who|which) (?:is|was|are|were) )(?:the|an?) "
    + _ANSWER
    + r"(?: (?:is|was|are|were))?\W*$"
)
_WORD = re.compile(r"[\w'-]+")
_ENDING = re.compile(r"(?:es|s|ed|ing)$")
_STEM = 5  # characters that a word and its other forms share, without such an ending: "play", "plays"


@dataclass(frozen=True, slots=True)
class _Hop:
    """What a text asks: a noun, of another noun, or of what a clause describes (by the stems of its words)."""

    noun: str
    of_noun: str | None
    of_clause: frozenset[str]


def further_hops(texts: Sequence[str], others: Sequence[str]) -> Tensor:
    """Which of the masked texts (n) ask something of what others (k) ask for, or the other way round: booleans (n, k)."""
    found = torch.zeros(len(texts), len(others), dtype=torch.bool)
    theirs = [_hop(other) for other in others]
    for n, text in enumerate(texts):
        if _hop(text) is not None or any(theirs):
            found[n] = torch.tensor([further_hop(text, other) is not None for other in others])
    return found


def further_hop(text: str, other: str) -> str | None:
    """The noun that one of two masked texts asks of what the other asks for; None: neither does."""
    for one, against in ((text, other), (other, text)):
        hop = _hop(one)
        if hop is None or _stem(hop.noun) in _stems(against):
            continue
        if hop.of_clause & _stems(against) or (hop.of_noun and hop.of_noun == _noun(_DIRECT.search(against))):
            return hop.noun
    return None


@lru_cache(maxsize=1 << 14)
def _hop(text: str) -> _Hop | None:
    if found := _OF_A_PLACE.search(text):
        return _Hop(found["noun"], _noun(found), frozenset())
    if (found := _OF_A_NOUN.search(text)) and found["noun"] not in _lists()["transparent"]:
        return _Hop(found["noun"], _noun(found), frozenset())
    if (found := _OF_A_CLAUSE.search(text)) and found["noun"] not in _lists()["transparent"]:
        return _Hop(found["noun"], None, _stems(found["answer"]))
    return None


def _noun(found: re.Match[str] | None) -> str | None:
    """The last word of what is asked for: of "highest point", the point."""
    return found["answer"].split()[-1] if found else None


@lru_cache(maxsize=1 << 14)
def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in _WORD.findall(text) if word not in _lists()["empty"])


def _stem(word: str) -> str:
    return _ENDING.sub("", word)[:_STEM]


@cache
def _lists() -> Mapping[str, frozenset[str]]:
    read = tomllib.loads((files("editors.index") / "data" / "hops.toml").read_text(encoding="utf-8"))
    return {name: frozenset(words) for name, words in read.items()}
