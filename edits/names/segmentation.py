"""The words of a text in any script, as Unicode tells them, in the form in which names are compared.

A word is a run of letters, marks and digits. Where a script writes no spaces, or joins endings to the noun by syllables,
every grapheme cluster is a word. A pictograph is one, too; other symbols are part of no word, but for those that end a
name (C++).
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import regex

# Of a text so much is read, counted from its end, where it asks.
MAX_WORDS, MAX_CHARACTERS = 4096, 1 << 16

Words = tuple[str, ...]

_ASCII_WORD = regex.compile(
    r"[a-z0-9]+(?:[+#]++(?![a-z0-9]))?"
)  # as most prompts are: this runs for every prompt
# LB=SA: the scripts of South East Asia, whose words only a dictionary tells apart (UAX 14).
_UNSPACED = (
    r"(?:(?=[\p{L}\p{M}\p{N}])[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Bopomofo}\p{Yi}\p{Javanese}\p{Balinese}"
    r"\p{Ethiopic}\p{LB=SA}\u30fc]\p{M}*+)"
)
_PICTOGRAPH = (
    r"(?:\p{Emoji_Presentation}|(?![\u00a9\u00ae\u2122\u203c\u2049\u2139])\p{Extended_Pictographic})"
)
_WORD = regex.compile(
    rf"{_UNSPACED}|{_PICTOGRAPH}|(?:(?!{_UNSPACED})[\p{{L}}\p{{M}}\p{{N}}])++(?:[+#]++(?![\p{{L}}\p{{M}}\p{{N}}]))?"
)
# Symbols that stand alone between spaces, with what a sentence puts around them left out.
_SYMBOLS = regex.compile(r"""(?<!\S)["'(\[{«“‘¿¡]*+([^\s\p{L}\p{M}\p{N}]+?)["')\]}»”’.,;:?…]*+(?!\S)""")
_MAYBE_SYMBOLS = re.compile(r"(?:^|\s)[^\w\s]+(?:\s|$)")  # most texts have none, and this is quick
# What does not show: joiners, variation selectors, marks of direction, soft hyphens, the Arabic stretch.
_INVISIBLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\u0640]+")
_POINTS = regex.compile(
    r"[\u0591-\u05c7\u064b-\u065f\u0670]+"
)  # vowels that Hebrew and Arabic leave out as a rule
_GREEK_ACCENTED = regex.compile(r"[\p{Greek}&&\p{Ll}]\p{M}*+", regex.V1)
_TURKISH_DOT = "i\u0307"  # what folding leaves of a dotted capital I
# Letters that one keyboard writes for another's, by language or by habit.
_SAME_LETTER = str.maketrans("ıيىكأإآٱё\u02bb\u02bc", "iییکاااا\u0435''")


@dataclass(frozen=True, slots=True)
class ReadText:
    """A text as the index reads it.

    Attributes:
        plain: folded (`fold`).
        words, spans: its words and where in `plain` each stands.
        symbols: names without any word that may stand there, as (symbols, span); of a text with words.
    """

    plain: str
    words: Words
    spans: tuple[tuple[int, int], ...]
    symbols: tuple[tuple[str, tuple[int, int]], ...] = ()


def fold(text: str) -> str:
    """The form in which names are compared: NFKC, case folded, without what is not always written.

    Dotted and dotless i, Greek accents (capitals have none), Arabic yeh and kaf, alef with and without hamza, vowel points
    and invisible characters make no difference; accents elsewhere do.
    """
    if text.isascii():
        return text.lower()
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    plain = unicodedata.normalize("NFKC", plain.casefold()).replace(_TURKISH_DOT, "i").translate(_SAME_LETTER)
    plain = _POINTS.sub("", plain)
    bare: str = _GREEK_ACCENTED.sub(lambda found: unicodedata.normalize("NFD", found[0])[0], plain)
    return bare


def as_written(text: str) -> str:
    """A text with its capitals, each character where `fold` leaves it; "" where the two cannot be laid side by side."""
    if text.isascii():
        return text
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    written = "".join(map(_case_kept, plain))
    return written if len(written) == len(fold(text)) else ""


def _case_kept(letter: str) -> str:
    """A letter as it stands, or as many as folding makes of it: two of a German sharp s."""
    folded = letter.casefold()
    return letter if len(folded) == 1 else folded.upper() if letter.isupper() else folded


def words_of(text: str) -> Words:
    """A text's words, folded; a text without any gives its symbols instead."""
    if text.isascii():
        plain = text.lower()
        return tuple(_ASCII_WORD.findall(plain)) or tuple(plain.split())
    return read_text(text).words


def recent(text: str) -> str:
    """As much of a text's end as is read, however long it is."""
    return text[-MAX_CHARACTERS:]


@lru_cache(maxsize=4)  # a prompt is read for each of the names that stand there
def read_text(text: str) -> ReadText:
    """The same words as `words_of`, with their places."""
    plain = fold(text)
    pattern = _ASCII_WORD if plain.isascii() else _WORD
    spans = tuple(match.span() for match in pattern.finditer(plain))
    symbols = tuple(_standalone(plain)) if spans and _MAYBE_SYMBOLS.search(plain) else ()
    spans = spans or tuple(match.span() for match in regex.finditer(r"\S+", plain))
    return ReadText(plain, tuple(plain[start:end] for start, end in spans), spans, symbols)


def _standalone(plain: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for match in _SYMBOLS.finditer(plain):
        yield match[1], match.span(1)
