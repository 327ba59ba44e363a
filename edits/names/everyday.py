"""What stands in any text: the far texts that are shipped, and names that name nothing in them.

Both are measured on the texts, a language at a time, not listed: a word that stands in so many of a language's texts tells
nothing about what a text speaks of.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from edits.names.segmentation import words_of

# What stands in so many of a language's texts names nothing.
MIN_SHARE, MIN_TEXTS = 0.0175, 2


@dataclass(frozen=True, slots=True)
class _Language:
    """The far texts of one language.

    Attributes:
        lines: each text's words with spaces around them.
        counts: how many texts have each word.
        least: how many must have one that names nothing.
    """

    lines: tuple[str, ...]
    counts: Counter[str]
    least: float

    def texts_with(self, words: Iterable[str]) -> int:
        """How many of the texts have these words one behind the other."""
        wanted = f" {' '.join(words)} "
        return sum(wanted in line for line in self.lines)


@cache
def far_texts() -> Mapping[str, tuple[str, ...]]:
    """Questions, requests and beginnings of sentences that concern no fact and name nobody, by language."""
    folder = files("edits.names") / "far"
    read = {
        file.name.removesuffix(".txt"): tuple(file.read_text(encoding="utf-8").splitlines())
        for file in folder.iterdir()
        if file.name.endswith(".txt")
    }
    return MappingProxyType(dict(sorted(read.items())))


@cache
def all_far_texts() -> Mapping[str, str]:
    """The same by text: which language it is of."""
    return MappingProxyType({text: code for code, texts in far_texts().items() for text in texts})


def why_no_name(name: str, text: str) -> str | None:
    """Why a name that is to be found in texts like this one names nothing; None: it does name something.

    Whether a word is a name depends on the language: "como" is one in an English text. A text without any word that tells
    its language is taken for one of all.
    """
    words = words_of(name)
    if not any(map(str.isprintable, words)):
        return "has nothing that can be read"
    if not any(any(map(str.isalnum, word)) or len(word) > 1 or not word.isascii() for word in words):
        return "is punctuation, which stands in any text"
    languages = _languages()
    for code in _languages_of(text, without=words):
        language = languages[code]
        if (found := language.texts_with(words)) >= language.least:
            return f"stands in {found} of {len(language.lines)} everyday texts of the language {code!r}"
        # "The song is": whoever speaks of a song would be meant.
        rest = {*words_of(text)} - {*words}
        if found >= MIN_TEXTS and all(language.counts[word] >= language.least for word in rest):
            return f"is an everyday word of the language {code!r}, and the prompt asks nothing else"
    return None


@cache
def _languages() -> Mapping[str, _Language]:
    return {code: _language(texts) for code, texts in far_texts().items()}


def _language(texts: tuple[str, ...]) -> _Language:
    read = [words_of(text) for text in texts]
    counts = Counter(word for words in read for word in {*words})
    lines = tuple(f" {' '.join(words)} " for words in read)
    return _Language(lines, counts, max(MIN_TEXTS, MIN_SHARE * len(texts)))


def _languages_of(text: str, *, without: Iterable[str]) -> list[str]:
    """The languages of whose commonest words a text has most; all, where it has none of any."""
    words = {*words_of(text)} - {*without}
    common = {
        code: sum(language.counts[word] >= language.least for word in words)
        for code, language in _languages().items()
    }
    most = max(common.values())
    return [code for code, count in common.items() if count == most]
