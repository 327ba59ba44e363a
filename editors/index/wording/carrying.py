"""Whom a pronoun means: what was named before it, unless another name stands between the two.

Other names are told by their capitals. A text without them tells nothing: there a pronoun means what was named, whatever
stands between.
"""

import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from editors.index.wording.sentences import Occurrence, sentences
from edits.names.segmentation import ReadText, Words, as_written, read_text

# Under these words a later turn means what an earlier one named.
PRONOUNS = frozenset(
    (
        *("it", "its", "he", "him", "his", "she", "her", "hers", "they", "them", "their", "theirs"),
        *("there", "this", "that", "these", "those"),
    )
)
POSSESSIVE = frozenset(("its", "his", "her", "hers", "their", "theirs"))
_MAY_BE_GENERIC = frozenset(("it", "they", "there"))
# It means nothing: "What time is it?"
_EXPLETIVE = re.compile(
    r"\b(?:what|which) (?:time|day|date|month|year|season) (?:is (?P<it>it)|(?P<it_is>it) is)"
    r"(?=\W*$| (?:now|today|in|at|there)\b)"
)
# Capitals that open a sentence or a title as often as a name, and words of the calendar.
_NO_NAMES = frozenset(
    (
        *("a", "an", "the", "of", "in", "on", "at", "to", "for", "from", "by", "with", "as", "about", "and", "or", "but"),
        *("who", "whom", "whose", "what", "when", "where", "which", "why", "how", "is", "are", "was", "were", "be", "do"),
        *("does", "did", "has", "have", "had", "can", "could", "will", "would", "should", "may", "might", "must", "not"),
        *("i", "you", "we", "me", "my", "your", "our", "us", "if", "so", "then", "now", "also", "just", "please", "tell"),
        *("thanks", "thank", "ok", "okay", "yes", "no", "hi", "hello", "hey", "dear", "let", "don", "isn", "didn"),
        *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "january", "february", "march"),
        *("april", "june", "july", "august", "september", "october", "november", "december", "question", "answer"),
        *PRONOUNS,
    )
)  # fmt: skip
_PREPOSITION = re.compile(r"\b(?:in|of|from|at|near|on|by) (?:the )?$")
_ARTICLE, _NOUN_BEHIND = re.compile(r"\b(?:an?|the) $"), re.compile(r" [a-z]{3}")
_SPEAKER = re.compile(r"\b(?:i'm|i am|name is|call me) $")  # whom "he" never means
_LONGEST_PREPOSITION = 12
_JOINS = re.compile(r"[ \t]+|[-'’&./]")  # between the words of one name
_NEW_CLAUSE = re.compile(r"[,;:()?!\n–—]| - ")
# What may stand before a sentence's first word.
_OPENS = re.compile(r"""(?:^|[:\n"“‘(]|\d[.)])\s*["“'‘(*#>-]*\s*$""")
_LONGEST_OPENING = 16


@dataclass(frozen=True, slots=True)
class ProperName:
    """A name by its capitals: its words and characters, and where its sentence starts.

    Attributes:
        is_modifier: it only tells of something else ("the bridge in Norland", "a Norlandic bridge").
    """

    words: Words
    start: int
    end: int
    sentence: int
    is_modifier: bool


def pronouns(text: ReadText) -> list[Occurrence]:
    """The pronouns of a text that may stand for a name said earlier."""
    idle = {found.start(found.lastgroup or 0) for found in _EXPLETIVE.finditer(text.plain)}
    return [
        Occurrence(start, end)
        for word, (start, end) in zip(text.words, text.spans, strict=True)
        if word in PRONOUNS and start not in idle
    ]


def pronouns_in(text: ReadText, part: tuple[int, int]) -> list[Occurrence]:
    """Those between two characters."""
    return [one for one in pronouns(text) if part[0] <= one.start < part[1]]


def may_mean(
    names: Sequence[Words],
    turns: Sequence[str],
    part: tuple[int, int],
    find: Callable[[ReadText], Sequence[Occurrence]],
) -> bool:
    """Whether the pronouns of a part of the last turn may mean what these names name: no other name took its place.

    Args:
        find: where the names stand in a text.
    """
    last = read_text(turns[-1])
    first = pronouns_in(last, part)[0]
    known = frozenset(word for name in names for word in name)
    if _is_generic(last, first, part, other_names(turns[-1], known)):
        return False
    stop = _clause_start(last.plain, part[0], first.start)
    for turn in reversed(turns):
        at = [one for one in find(read_text(turn)) if one.start < stop]
        named, since = (at[-1].start, at[-1].end) if at else (-1, 0)
        between = [one for one in other_names(turn, known) if since <= one.start < stop]
        if any(not one.is_modifier or one.sentence > named for one in between):
            return False
        if at:
            break
        stop = sys.maxsize  # an earlier turn is read to its end
    return True


def _is_generic(
    text: ReadText, pronoun: Occurrence, part: tuple[int, int], others: Iterable[ProperName]
) -> bool:
    """Whether it means people or the world: "do they use in Norland", "is it in Norland", "are there in Norland"."""
    word = text.plain[pronoun.start : pronoun.end]
    if text.plain.endswith("did ", 0, pronoun.start):
        return False  # "when did they play in Norland"
    behind = [one for one in others if pronoun.end <= one.start < part[1]]
    if word not in _MAY_BE_GENERIC or not behind or re.search(r"\w", text.plain[behind[-1].end : part[1]]):
        return False
    between = text.plain[pronoun.end : behind[-1].start].removesuffix("the ").split()
    return between[-1:] in (["in"], ["at"]) and (word != "it" or len(between) == 1)


def _clause_start(plain: str, start: int, stop: int) -> int:
    """Where the clause of a pronoun begins: no name in its own clause is what it means ("which Norse king built it")."""
    marks = [found.end() for found in _NEW_CLAUSE.finditer(plain, start, stop)]
    return marks[-1] if marks else start


def other_names(text: str, known: frozenset[str]) -> list[ProperName]:
    """The names of a text that have a word which is none of the known ones."""
    return [one for one in proper_names(text) if not known.issuperset(one.words)]


@lru_cache(maxsize=32)  # the same turns are asked for each of the names
def proper_names(text: str) -> tuple[ProperName, ...]:
    """Names by their capitals: several words, or one that opens no sentence."""
    read, written = read_text(text), as_written(text)
    if not written or not _tells(read, written):
        return ()
    starts = [start for start, _ in sentences(read)]
    return tuple(
        ProperName(read.words[a:b], begin, end, sentence, is_modifier)
        for a, b in _runs(read, written)
        for begin, end in [(read.spans[a][0], read.spans[b - 1][1])]
        for sentence in [starts[max(0, bisect_right(starts, begin) - 1)]]
        if not _SPEAKER.search(read.plain[max(0, begin - _LONGEST_PREPOSITION) : begin])
        if b - a > 1 or not _OPENS.search(read.plain[max(sentence, begin - _LONGEST_OPENING) : begin])
        for is_modifier in [_is_modifier(read.plain, written, begin, end, several=b - a > 1)]
    )


def _is_modifier(plain: str, written: str, begin: int, end: int, *, several: bool) -> bool:
    before = plain[max(0, begin - _LONGEST_PREPOSITION) : begin]
    if _PREPOSITION.search(before):
        return True
    return (
        not several and _ARTICLE.search(before) is not None and _NOUN_BEHIND.match(written, end) is not None
    )


def _tells(read: ReadText, written: str) -> bool:
    """Whether capitals mean anything in a text: not where every word has one, the little ones too."""
    lower = any(written[start].islower() for start, _ in read.spans)
    return lower or not any(word in _NO_NAMES for word in read.words)


def _runs(read: ReadText, written: str) -> Iterator[tuple[int, int]]:
    """Capitalised words one behind the other, as (first, behind the last); a figure goes on with a name."""
    begin = None
    for place, (word, (start, end)) in enumerate(zip(read.words, read.spans, strict=True)):
        capital = word not in _NO_NAMES and len(word) > 1 and any(map(str.isupper, written[start:end]))
        joined = (
            begin is not None and _JOINS.fullmatch(read.plain, read.spans[place - 1][1], start) is not None
        )
        if begin is not None and not (joined and (capital or word.isdigit())):
            yield begin, place
            begin = None
        if begin is None and capital:
            begin = place
    if begin is not None:
        yield begin, len(read.words)
