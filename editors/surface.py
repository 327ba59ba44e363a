"""Which edited subjects does a text name? Surface forms of subjects and aliases, found in one pass over its words."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

# Words, except that scripts written without spaces count character by character.
_WORD = re.compile(r"[぀-ヿ㐀-鿿฀-๿]|[^\W_぀-ヿ㐀-鿿฀-๿]+")
_SYMBOL = re.compile(r"[^\s\w]+")
_MAX_WORDS = 4096

Words = tuple[str, ...]


def words_of(text: str) -> Words:
    """A text's words, normalised (NFKC, case folded); a text without any gives its symbols instead."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = _WORD.findall(plain)
    return tuple(found or _SYMBOL.findall(plain))


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

    def find(self, text: str) -> set[str]:
        """Edits whose subject `text` names; of names that begin at one word the longest counts.

        "New York City" therefore does not speak of "New York" where both are known.
        """
        words = words_of(text)[-_MAX_WORDS:]
        found: set[str] = set()
        covered_to = 0
        for start, word in enumerate(words):
            lengths = self._lengths.get(word)
            if not lengths or start < covered_to:
                continue
            for length in sorted(lengths, reverse=True):
                edits = self._edits.get(words[start : start + length])
                if edits:
                    found |= edits
                    covered_to = start + length
                    break
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
