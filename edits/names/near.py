"""Names that stand in a text almost as they were given: another spelling or order, an ending, a word left out.

An exact name says who a text is about; an approximate one only makes a candidate, which the base must then confirm by giving
the live prompt the edit's own answer. That answer proves something only about the words it depends on: a base that says
"Microsoft" of "Microsoft Office XP" and of "Microsoft Office" does not tell XP from 2010. Such words are
*required*: without them the name is not meant. Which ones is measured on the base when the edit is made
(`editors.methods.common.calibration`).
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from edits.names.by_key import EditsByKey
from edits.names.segmentation import Words, recent, words_of

# Words that carry no name by themselves.
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "at", "by", "de", "del", "der", "du", "el", "for", "from", "in", "is"),
        *("la", "le", "of", "on", "or", "s", "the", "to", "van", "von", "was", "with"),
    )
)
STEM = 4  # letters by which a word is looked up
MAX_NAMES_PER_STEM = 64  # a stem of more names tells nothing and is passed over
MAX_WORDS = 256  # of a text, the last ones: an approximate name far from what is asked means nothing
MAX_LOOKED_INTO = 128  # names that share stems with a text: a page of text shares some with very many
MAX_COMPARED = (
    4096  # pairs of words of a text and of names, letter by letter; then only equal words are alike
)
MAX_WORDS_PER_GRAM = 32  # of a text: three letters that more of its words have tell nothing
LIKE = 0.4  # under it two words have nothing in common
REQUIRED_LIKE = 0.6  # a required word must stand there at least so well
# A text that has less than this of a name does not name it; a batch whose names are alike asks for more.
MIN_COVERAGE = 0.7
# Where no base confirms the edit's answer, this alone tells like names apart: over it other subjects are hardly ever found.
MIN_COVERAGE_ALONE = 0.95
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Near:
    """A live edit whose name may be meant, and how much of the name the text has (0..1, by letters)."""

    edit_id: str
    coverage: float


@dataclass(frozen=True, slots=True)
class _Name:
    words: Words
    required: frozenset[str]
    numbers: frozenset[str]


def name_words(name: str) -> Words:
    """The words that make a name, without function words unless it has no others."""
    words = words_of(name)
    return tuple(dict.fromkeys(word for word in words if word not in FUNCTION_WORDS)) or words


class NearNames:
    """Finds edits by approximate names; asking costs what the text and the few names that share its rare stems cost."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # packed: a million are held
        self._stems: EditsByKey[str] = EditsByKey()

    def add(self, edit_id: str, name: str, *, required: Iterable[str]) -> None:
        """Let `name` be found approximately; `required` are the words that may not be missing."""
        self.remove(edit_id)
        words = name_words(name)
        self._names[edit_id] = _pack(words, {*required} & {*words})
        for word in words:
            self._stems.add(word[:STEM], edit_id)

    def remove(self, edit_id: str) -> None:
        """Forget an edit; one that was never added is passed over."""
        name = self._names.pop(edit_id, None)
        for word in () if name is None else _unpack(name).words:
            self._stems.remove(word[:STEM], edit_id)

    def find(self, text: str, *, least: float) -> list[Near]:
        """Edits whose names the text has by at least `least` (0..1), the fullest first.

        Of a text that shares stems with very many names, those of which it has most are looked into.
        """
        if not self._names:
            return []
        words = _last_words(text)
        shared: Counter[str] = Counter()
        for stem in {word[:STEM] for word in words}:
            holders = self._stems.get(stem)
            if len(holders) <= MAX_NAMES_PER_STEM:
                shared.update(holders)
        if not shared:
            return []
        there = _Text(words)
        found = [
            Near(edit_id, coverage)
            for edit_id in self._likeliest(shared)
            if (coverage := there.coverage(_unpack(self._names[edit_id]), least)) >= least
        ]
        return sorted(found, key=lambda near: (-near.coverage, near.edit_id))

    def _likeliest(self, shared: Mapping[str, int]) -> Iterable[str]:
        if len(shared) <= MAX_LOOKED_INTO:
            return shared
        share = {edit_id: n / (1 + self._names[edit_id].count(" ")) for edit_id, n in shared.items()}
        return heapq.nsmallest(MAX_LOOKED_INTO, share, key=lambda edit_id: (-share[edit_id], edit_id))

    def words_in(self, text: str, edit_id: str) -> tuple[Words, ...]:
        """The words of the text that stand for an edit's name, each by itself."""
        words, name = _last_words(text), _unpack(self._names[edit_id])
        known = {word for word in {*words} if any(_alike(word, own) >= LIKE for own in name.words)}
        return tuple((word,) for word in words if word in known)


def _last_words(text: str) -> Words:
    return words_of(recent(text))[-MAX_WORDS:]


def _pack(words: Words, required: set[str]) -> str:
    """A name in one string: its words with spaces between them, which no word has; required ones behind a line break."""
    return "\n".join((" ".join(words), " ".join(required))) if required else " ".join(words)


def _unpack(name: str) -> _Name:
    words, _, required = name.partition("\n")
    return _Name(tuple(words.split(" ")), frozenset(required.split()), frozenset(_DIGITS.findall(words)))


class _Text:
    """A text's words, ready to be compared with many names."""

    def __init__(self, words: Sequence[str]) -> None:
        self._known = frozenset(words)
        self._words = words
        self._numbers = frozenset(_DIGITS.findall(" ".join(words)))
        self._likest: dict[str, float] = {}
        self._compared = 0

    def coverage(self, name: _Name, least: float) -> float:
        """Share of the name's letters whose words stand here; 0 if under `least`, or without a number or required word."""
        if not name.numbers <= self._numbers:
            return 0.0
        letters = sum(map(len, name.words))
        missing = 0.0
        for word in name.words:
            like = self._like(word)
            if like < REQUIRED_LIKE and word in name.required:
                return 0.0
            missing += len(word) * (1 - like if like >= LIKE else 1.0)
            if letters - missing < least * letters:
                return 0.0
        return 1 - missing / letters

    def _like(self, word: str) -> float:
        """How much the likest word of the text is like this one: 1 the same, 0 no three letters in common."""
        # The numbers of the name were compared already: 3rd, 3.
        if word in self._known or _DIGITS.match(word):
            return 1.0
        if word not in self._likest:
            others = self._others(word) if self._compared < MAX_COMPARED else ()
            self._compared += len(others)
            own = _grams(word)
            self._likest[word] = max(
                (_overlap(word, own, other, _grams(other)) for other in others), default=0.0
            )
        return self._likest[word]

    def _others(self, word: str) -> Collection[str]:
        """Words of the text that may be like this one."""
        sharing = (self._words_with.get(gram, ()) for gram in _grams(word))
        return {other for others in sharing if len(others) <= MAX_WORDS_PER_GRAM for other in others}

    @cached_property
    def _words_with(self) -> Mapping[str, list[str]]:
        """Words of the text, and what two beside each other make together, by three letters of theirs."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        joined = (first + second for first, second in pairwise(self._words))
        for word in {*self._known, *joined}:
            for gram in _grams(word):
                found[gram].append(word)
        return found


def _alike(word: str, own: str) -> float:
    return 1.0 if word == own else _overlap(own, _grams(own), word, _grams(word))


def _overlap(word: str, own: frozenset[str], other: str, grams: frozenset[str]) -> float:
    if own.isdisjoint(grams):
        return 0.0
    shorter, longer = sorted((word, other), key=len)
    if len(shorter) >= STEM and longer == shorter + "s":
        return 1.0  # a possessive whose apostrophe was left out
    if len(shorter) >= STEM and longer.startswith(shorter) and len(longer) - len(shorter) <= 3:
        return 0.9  # an ending more or less: squeak, squeaker
    return 2 * len(own & grams) / (len(own) + len(grams))


@lru_cache(maxsize=1 << 16)
def _grams(word: str) -> frozenset[str]:
    """Three letters at a time, with the word's ends marked."""
    marked = f" {word} "
    return frozenset(marked[i : i + 3] for i in range(len(marked) - 2))
