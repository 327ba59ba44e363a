"""Names with something attached: prefixes of Arabic, Hebrew and Syriac, endings of scripts that join them to the noun.

Where a text writes "to-France" or "France's" as one word, that word stands for the name as well. What a text's word may
stand for, and under which keys a name is kept, are told here, so that everybody who looks for names finds the same ones.
"""

from collections.abc import Iterable
from functools import lru_cache

import regex

from edits.names.segmentation import Words

MIN_STEM = 3  # letters of a name that something was taken off
MIN_ENDING_STEM, MAX_ENDING = 4, 7  # code points, of scripts that join endings

_PREFIXED = regex.compile(r"[\p{Arabic}\p{Hebrew}\p{Syriac}]")
# "and", "so", "in", "like", "to" before the name and its article, also one behind the other.
_ARABIC = regex.compile(r"[وف]?[بكل]?")
_ARTICLE, _TO_THE = "ال", "لل"
_HEBREW = "והבלכמש" + "ܘܒܕܠܡ"  # and Syriac's, which join alike
_MAX_HEBREW = 3
_JOINS_ENDINGS = regex.compile(
    r"[\p{Tamil}\p{Telugu}\p{Kannada}\p{Malayalam}\p{Sinhala}\p{Bengali}\p{Oriya}\p{Gujarati}\p{Gurmukhi}\p{Devanagari}"
    r"\p{Georgian}\p{Armenian}\p{Mongolian}\p{Meetei_Mayek}\p{Thaana}]"
)
# A final sign that gives way to the ending's vowel: a virama, the short u of the Dravidian languages, Georgian's nominative,
# the short vowels of Thaana.
_YIELDING = regex.compile(
    r"(?:\p{InSC=Virama}|\p{InSC=Pure_Killer}|[\u0bc1\u0c41\u0cc1\u0d41]|\u10d8|[\u07a6\u07a8\u07aa\u07ac\u07ae\u07b0])$"
)


def name_keys(words: Words) -> set[Words]:
    """The keys of a name: its words, and these as they are before an ending."""
    if not words:
        return set()
    stem = _YIELDING.sub("", words[-1]) if _JOINS_ENDINGS.match(words[-1]) else ""
    return {words, (*words[:-1], stem)} if len(stem) >= MIN_ENDING_STEM else {words}


def all_keys(names: Iterable[Words]) -> set[Words]:
    """The keys of several names."""
    return {key for words in names for key in name_keys(words)}


def beginnings(word: str) -> Words:
    """What the first word of a name may be where a text has this word; itself first."""
    return (word,) if word.isascii() else _beginnings(word)


@lru_cache(maxsize=1 << 14)
def _beginnings(word: str) -> Words:
    if not _PREFIXED.match(word):
        return (word,)
    found = _without_hebrew(word) if word[0] in _HEBREW else _without_arabic(word)
    return (word, *(rest for rest in dict.fromkeys(found) if rest != word and len(rest) >= MIN_STEM))


def endings(word: str) -> Words:
    """What the last word of a name may be where a text has this word; itself first."""
    return (word,) if word.isascii() else _endings(word)


@lru_cache(maxsize=1 << 14)
def _endings(word: str) -> Words:
    if len(word) <= MIN_ENDING_STEM or not _JOINS_ENDINGS.match(word):
        return (word,)
    shortest = max(MIN_ENDING_STEM, len(word) - MAX_ENDING)
    return (word, *(word[:end] for end in range(len(word) - 1, shortest - 1, -1)))


def _without_hebrew(word: str) -> Iterable[str]:
    for place in range(1, min(_MAX_HEBREW, len(word)) + 1):
        if word[place - 1] not in _HEBREW:
            return
        yield word[place:]


def _without_arabic(word: str) -> Iterable[str]:
    joined = _ARABIC.match(word)
    for end in range(joined.end() + 1 if joined else 1):
        rest = word[end:]
        if rest.startswith(_TO_THE):
            yield _ARTICLE + rest[len(_TO_THE) :]
            yield rest[len(_TO_THE) :]
        yield rest
        if rest.startswith(_ARTICLE):
            yield rest[len(_ARTICLE) :]
