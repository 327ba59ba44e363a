"""What a text asks, apart from whom it asks about: the part that is read, with the name masked."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from editors.index.wording.abbreviations import ends_abbreviation, goes_on
from editors.index.wording.plain_wording import plain_wording
from edits.names.attached import all_keys
from edits.names.segmentation import ReadText, Words, read_text, recent, words_of
from edits.names.surface import find_keys

# What stands in a text in place of the name. Measured against others (docs/experiments.md).
MASK = "x"
# Under these words a later turn means what an earlier one named.
PRONOUNS = frozenset(
    (
        *("it", "its", "he", "him", "his", "she", "her", "hers", "they", "them", "their", "theirs"),
        *("there", "this", "that", "these", "those"),
    )
)
_RUN = re.compile(rf"\b{MASK}(?:\W{{1,2}}{MASK}\b)+")
# With these a sentence asks, though it is no question.
_REQUESTS = frozenset(
    (
        *("tell", "name", "give", "state", "say", "list", "please", "explain", "identify", "find"),
        *("i", "i'd", "answer", "complete"),
    )
)
SHORT_TAIL = 3  # words that lead to an answer: "the answer is"
# It asks nothing by itself: "The capital of Spain? Which?", "The mayor of Lyon. Who is it?"
_BARE_QUESTION = re.compile(
    r"(?:and )?(?:who|what|when|where|which|how much|how many)(?: (?:is|was) (?:it|he|she|that|this))?\s*\?"
)
_POSSESSIVE = frozenset(("its", "his", "her", "hers", "their", "theirs"))
# A sentence ends at a line break, or at a mark that something follows.
_SENTENCE_END = re.compile(r"(?<![.?!])[.?!]++[\"')\]]*+\s+|\n+")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A name in a text: characters `start` to `end` of its normalised form."""

    start: int
    end: int


def find_name(text: ReadText, names: Iterable[Words]) -> list[Occurrence]:
    """Where any of the names stands in a text, from left to right; of two that overlap, the longer, then the earlier."""
    keys = all_keys(name for name in names if name)
    lengths: dict[str, set[int]] = {}
    for key in keys:
        lengths.setdefault(key[0], set()).add(len(key))
    joined = {" ".join(key) for key in keys}
    found = list(find_keys(text, lambda first: lengths.get(first, ()), joined.__contains__))
    taken = bytearray(len(text.words))
    kept = [text.symbols[place][1] for _, first, place in found if first < 0]
    for _, first, last in sorted(found, key=lambda one: (one[1] - one[2], one[1])):
        if first >= 0 and not any(taken[first:last]):
            taken[first:last] = b"\1" * (last - first)
            kept.append((text.spans[first][0], text.spans[last - 1][1]))
    return [Occurrence(start, end) for start, end in sorted(kept)]


def masked(text: ReadText, at: Sequence[Occurrence], part: tuple[int, int] | None = None) -> str:
    """A text, or the part of it between two characters, with `MASK` where the names stand, in plain wording."""
    whole = _replaced(text, at, part or (0, len(text.plain)), lambda _: MASK)
    return plain_wording(_RUN.sub(MASK, whole))  # a name that was found word by word is one name


def _replaced(
    text: ReadText, at: Sequence[Occurrence], part: tuple[int, int], stand_in: Callable[[str], str]
) -> str:
    """A part of a text with other words for what stands at some places of it."""
    pieces, done = [], part[0]
    for one in at:
        if part[0] <= one.start and one.end <= part[1]:
            pieces += [text.plain[done : one.start], stand_in(text.plain[one.start : one.end])]
            done = one.end
    return " ".join("".join([*pieces, text.plain[done : part[1]]]).split())


def masked_question(text: str, names: Iterable[str]) -> str:
    """A whole text with every name masked, as an edit's own prompt and its phrasings are kept."""
    read = read_text(text)
    return masked(read, find_name(read, [words_of(name) for name in names]))


def sentences(text: ReadText, at: Sequence[Occurrence] = ()) -> Iterator[tuple[int, int]]:
    """The sentences of a text as (start, end); a mark inside a name, or of an abbreviation, ends none."""
    begin, ends, starts = 0, [name.end for name in at], {name.start for name in at}
    for mark in _SENTENCE_END.finditer(text.plain):
        if mark[0][0] == "." and ends_abbreviation(
            text.plain, mark.start(), before_name=mark.end() in starts
        ):
            continue
        if mark[0].strip() == "!" and mark.start() in ends and goes_on(text.plain, mark.start() + 1):
            continue  # "Yahoo! was founded", "Jeopardy! first aired"
        behind = bisect_right(ends, mark.start())  # the first name that ends behind the mark's start
        if behind == len(at) or at[behind].start >= mark.end():
            yield begin, mark.end()
            begin = mark.end()
    if text.plain[begin:].strip():
        yield begin, len(text.plain)


def pronouns(text: ReadText) -> list[Occurrence]:
    """The pronouns of a text that may stand for a name said earlier."""
    return [Occurrence(a, b) for word, (a, b) in zip(text.words, text.spans, strict=True) if word in PRONOUNS]


def readings(turns: Sequence[str], names: Iterable[Words]) -> list[str]:
    """The parts of a prompt that may ask about a name, masked; empty where nothing is asked of it.

    Of the last turn: the last sentence that has the name, alone and with what follows, unless something else is asked behind
    it (`_asks`). Where an earlier sentence or turn has the name: the last sentence, if a pronoun stands there.

    Args:
        turns: what the user said, in order; of a plain prompt, the prompt alone.
    """
    last = read_text(recent(turns[-1]))
    at = find_name(last, names)
    parts = list(sentences(last, at))
    starts = [name.start for name in at]
    naming = [n for n, (a, b) in enumerate(parts) if bisect_left(starts, a) < bisect_left(starts, b)]
    if not parts:
        return []
    found: list[str] = []
    if naming and _asks(last, parts[naming[-1]], parts[naming[-1] + 1 :]):
        found.append(masked(last, at, parts[naming[-1]]))
        found.append(masked(last, at, (parts[naming[-1]][0], len(last.plain))))
    if (naming and naming[-1] < len(parts) - 1) or (not naming and len(turns) > 1):
        found += [_with_pronouns_masked(last, parts[-1])] if _has_pronoun(last, parts[-1]) else []
    return list(dict.fromkeys(found))


def _asks(text: ReadText, naming: tuple[int, int], behind: Sequence[tuple[int, int]]) -> bool:
    """Whether a sentence is what a prompt asks, though others stand behind it.

    It is if it is the last one, but for a bare "who?"; or if it asks (a question, a request) and nothing behind it does:
    neither a question nor a text that breaks off, as an unanswered example does.
    """
    if not behind or (len(behind) == 1 and _BARE_QUESTION.fullmatch(text.plain[slice(*behind[0])].strip())):
        return True
    asks = "?" in text.plain[slice(*naming)] or _first_word(text, naming) in _REQUESTS
    if not asks or any("?" in text.plain[slice(*part)] for part in behind):
        return False
    tail = text.plain[slice(*behind[-1])].strip()
    return tail[-1] in ".!:" or len(tail.split()) <= SHORT_TAIL


def _first_word(text: ReadText, part: tuple[int, int]) -> str:
    return next((w for w, (a, _) in zip(text.words, text.spans, strict=True) if part[0] <= a < part[1]), "")


def _has_pronoun(text: ReadText, part: tuple[int, int]) -> bool:
    return any(part[0] <= word.start < part[1] for word in pronouns(text))


def _with_pronouns_masked(text: ReadText, part: tuple[int, int]) -> str:
    return _replaced(text, pronouns(text), part, lambda word: MASK + "'s" * (word in _POSSESSIVE))
