"""Which edited subjects does a text name? Surface forms of subjects and aliases, found in one pass over its words."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from editors.index.names.by_key import EditsByKey

# Scripts written without spaces, or with endings joined to the noun: every character counts as a word.
_SINGLE = re.compile(r"[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
# Symbols that end a name: C++, C#.
_NAME_ENDS = re.compile(r"[+#]+")
# The same rules where all letters are ASCII, as most prompts' are: this runs for every prompt.
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:[+#]++(?![a-z0-9]))?")
# Of a text so much is read, counted from its end, where it asks.
MAX_WORDS, MAX_CHARACTERS = 4096, 1 << 16

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadText:
    """A text as the index reads it: normalised, with its words and where in the normalised text each stands."""

    plain: str
    words: Words
    spans: tuple[tuple[int, int], ...]


def words_of(text: str) -> Words:
    """A text's words, normalised (NFKC, case folded); a text without any gives its symbols instead."""
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
    if text.isascii():
        plain = text.lower()
        spans = [match.span() for match in _ASCII_WORD.finditer(plain)]
    else:
        plain = unicodedata.normalize("NFKC", text).casefold()
        spans = list(_spans_in_any_script(plain))
    spans = spans or [match.span() for match in re.finditer(r"\S+", plain)]
    return ReadText(plain, tuple(plain[start:end] for start, end in spans), tuple(spans))


def _spans_in_any_script(plain: str) -> Iterator[tuple[int, int]]:
    begin: int | None = None  # of the word that is being read
    checked_to, ends_to = 0, 0  # symbols looked at so far; symbols that belong to the word before them
    for place, character in enumerate(plain):
        if begin is not None and place >= checked_to and (run := _NAME_ENDS.match(plain, place)):
            checked_to = run.end()
            followed = checked_to < len(plain) and _is_letter(plain[checked_to])
            ends_to = place if followed else checked_to
        single = _SINGLE.match(character)
        if not single and (_is_letter(character) or place < ends_to):
            begin = place if begin is None else begin
            continue
        if begin is not None:
            yield begin, place
            begin = None
        if single:
            yield place, place + 1
    if begin is not None:
        yield begin, len(plain)


def _is_letter(character: str) -> bool:
    # Marks are the vowel signs of many scripts: part of the word.
    return character.isalnum() or unicodedata.category(character)[0] == "M"


class SurfaceIndex:
    """Edit ids by the names under which a prompt may name their subject.

    Adding, removing and asking cost what the edit and the text cost, however many edits are in the index.
    """

    def __init__(self) -> None:
        self._edits: EditsByKey[str] = (
            EditsByKey()
        )  # by a name's words with spaces between them, which no word has
        # By a name's first word: how many words its names have; of several names, the names of each length, counted.
        self._lengths: dict[str, int | dict[int, int]] = {}

    def add(self, edit_id: str, forms: Iterable[str]) -> None:
        for words in self._keys(forms):
            known = bool(self._edits.get(key := " ".join(words)))
            self._edits.add(key, edit_id)
            if not known:
                self._count_length(words, 1)

    def remove(self, edit_id: str, forms: Iterable[str]) -> None:
        for words in self._keys(forms):
            removed = self._edits.remove(key := " ".join(words), edit_id)
            if removed and not self._edits.get(key):
                self._count_length(words, -1)

    def find(self, text: str) -> dict[str, int]:
        """Edits whose subject `text` names, with the number of words of the longest name that stands there.

        In "New York City" both "New York" and "New York City" are found, where both are known: the length lets the
        caller prefer the longer name, but only if its edit has something to say.
        """
        found: dict[str, int] = {}
        for length, edits in self.names_in(text):
            found |= {edit_id: length for edit_id in edits if edit_id not in found}
        return found

    def called(self, form: str) -> Sequence[str]:
        """Edits of which this is one of the names, the oldest first."""
        return self._edits.get(" ".join(words_of(form)))

    def names_in(self, text: str) -> list[tuple[int, Sequence[str]]]:
        """The names that stand in a text, the longest first: how many words each has, and its edits, the oldest first."""
        words = words_of(recent(text))[-MAX_WORDS:]
        found: dict[str, int] = {}
        for start, word in enumerate(words):
            lengths = self._lengths.get(word)
            if lengths is None:
                continue
            for length in (lengths,) if isinstance(lengths, int) else lengths:
                if start + length <= len(words):
                    found[" ".join(words[start : start + length])] = length
        named = [(length, edits) for name, length in found.items() if (edits := self._edits.get(name))]
        return sorted(named, key=lambda one: -one[0])

    def _keys(self, forms: Iterable[str]) -> set[Words]:
        return {words for form in forms if (words := words_of(form))}

    def _count_length(self, words: Words, by: int) -> None:
        """One name more or less that begins with its first word."""
        first, length = words[0], len(words)
        held = self._lengths.get(first, {})
        counts = {held: 1} if isinstance(held, int) else held
        counts[length] = counts.get(length, 0) + by
        if not counts[length]:
            del counts[length]
        if not counts:
            del self._lengths[first]
        else:
            self._lengths[first] = length if counts == {length: 1} else counts
