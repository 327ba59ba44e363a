"""Which edited subjects does a text name? Surface forms of subjects and aliases, found in one pass over its words."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Scripts written without spaces, or with endings joined to the noun: every character counts as a word.
_SINGLE = re.compile(r"[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
# Symbols that end a name: C++, C#.
_NAME_ENDS = re.compile(r"[+#]+")
# The same rules where all letters are ASCII, as most prompts' are: this runs for every prompt.
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:[+#]++(?![a-z0-9]))?")
_MAX_WORDS = 4096

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
    """Edit ids by the names under which a prompt may speak of their subject.

    Adding, removing and asking cost what the edit and the text cost, however many edits are in the index.
    """

    def __init__(self) -> None:
        self._edits: defaultdict[Words, set[str]] = defaultdict(set)
        self._lengths: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))

    def add(self, edit_id: str, forms: Iterable[str]) -> None:
        for words in self._keys(forms):
            if edit_id not in self._edits[words]:
                self._edits[words].add(edit_id)
                self._lengths[words[0]][len(words)] += 1

    def remove(self, edit_id: str, forms: Iterable[str]) -> None:
        for words in self._keys(forms):
            if edit_id in self._edits.get(words, ()):
                self._edits[words].discard(edit_id)
                self._lengths[words[0]][len(words)] -= 1
                self._forget_empty(words)

    def find(self, text: str) -> dict[str, int]:
        """Edits whose subject `text` names, with the number of words of the longest name that stands there.

        In "New York City" both "New York" and "New York City" are found, where both are known: the length lets the
        caller prefer the longer name, but only if its edit has something to say.
        """
        words = words_of(text)[-_MAX_WORDS:]
        found: dict[str, int] = {}
        for start, word in enumerate(words):
            for length in self._lengths.get(word, ()):
                if start + length > len(words):
                    continue
                for edit_id in self._edits.get(words[start : start + length], ()):
                    found[edit_id] = max(length, found.get(edit_id, 0))
        return found

    def _keys(self, forms: Iterable[str]) -> set[Words]:
        return {words for form in forms if (words := words_of(form))}

    def _forget_empty(self, words: Words) -> None:
        if not self._edits[words]:
            del self._edits[words]
        lengths = self._lengths[words[0]]
        if not lengths[len(words)]:
            del lengths[len(words)]
        if not lengths:
            del self._lengths[words[0]]
