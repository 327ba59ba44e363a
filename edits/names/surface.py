"""Which edited subjects does a text name? Surface forms of subjects and aliases, found in one pass over its words."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from edits.names.articles import spoken_forms
from edits.names.attached import all_keys, beginnings, endings
from edits.names.by_key import EditsByKey
from edits.names.segmentation import MAX_WORDS, ReadText, Words, read_text, recent, words_of

__all__ = [
    "MAX_WORDS",
    "ReadText",
    "SurfaceIndex",
    "Words",
    "find_keys",
    "read_text",
    "recent",
    "words_of",
]

# Places and lengths of one text that are looked up: more have only texts that repeat the beginning of very many names.
MAX_LOOKUPS = 4096


def find_keys(
    text: ReadText, lengths_of: Callable[[str], Collection[int]], holds: Callable[[str], bool]
) -> Iterator[tuple[str, int, int]]:
    """Where names stand in a text: (key, first word, word behind the last); those of symbols alone as (key, -1, place).

    This is the one notion of naming: the index, the masking of questions and the check of an event all ask here.

    Args:
        lengths_of: by the first word of a key, how many words such keys have.
        holds: whether a key, its words with spaces between them, is known.
    """
    words, skipped = text.words[-MAX_WORDS:], max(0, len(text.words) - MAX_WORDS)
    known: dict[str, list[tuple[str, Collection[int]]]] = {}
    for word in {*words}:
        if begun := [(one, lengths) for one in beginnings(word) if (lengths := _lengths(one, lengths_of))]:
            known[word] = begun
    for place, (symbols, _) in enumerate(text.symbols):
        if lengths_of(symbols) and holds(symbols):
            yield symbols, -1, place
    for first, start, end in _windows(words, known) if known else ():
        # All but the last word as they stand; of that, what an ending may have been joined to.
        if end == start + 1:
            whole = endings(first)
        else:
            begun_with = " ".join((first, *words[start + 1 : end - 1], ""))
            whole = tuple(begun_with + last for last in endings(words[end - 1]))
        for key in whole:
            if holds(key):
                yield key, start + skipped, end + skipped


def _lengths(first: str, lengths_of: Callable[[str], Collection[int]]) -> Collection[int]:
    """How many words names have that begin with this one, of one word also with an ending."""
    lengths, stems = lengths_of(first), endings(first)
    if len(stems) > 1 and 1 not in lengths and any(1 in lengths_of(stem) for stem in stems):
        return (1, *lengths)
    return lengths


def _windows(
    words: Words, known: Mapping[str, Sequence[tuple[str, Collection[int]]]]
) -> Iterator[tuple[str, int, int]]:
    """The parts of a text that may be names, from its end: (first word of the key, first word, word behind the last)."""
    left, count = MAX_LOOKUPS, len(words)
    for start in range(count - 1, -1, -1):
        if words[start] not in known:
            continue
        for first, lengths in known[words[start]]:
            for length in lengths:
                if start + length <= count:
                    yield first, start, start + length
                    left -= 1
        if left <= 0:
            return


class SurfaceIndex:
    """Edit ids by the names under which a prompt may name their subject: those given, and these without their article.

    Adding, removing and asking cost what the edit and the text cost, however many edits are in the index.
    """

    def __init__(self) -> None:
        self._edits: EditsByKey[str] = (
            EditsByKey()
        )  # by a name's words with spaces between them, which no word has
        # By a name's first word: how many words its names have; of several names, the names of each length, counted.
        self._lengths: dict[str, int | dict[int, int]] = {}

    def add(self, edit_id: str, forms: Iterable[str]) -> None:
        """Know an edit by these names of its subject."""
        for words in self._keys(forms):
            known = bool(self._edits.get(key := " ".join(words)))
            self._edits.add(key, edit_id)
            if not known:
                self._count_length(words, 1)

    def remove(self, edit_id: str, forms: Iterable[str]) -> None:
        """Forget an edit under the names that it was added with."""
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
        if not self._lengths:
            return []
        read = read_text(recent(text))
        keys = dict.fromkeys(key for key, _, _ in find_keys(read, self._lengths_of, self._edits.__contains__))
        # The earliest first: a text is looked through from its end.
        named = [(1 + key.count(" "), self._edits.get(key)) for key in reversed(keys)]
        return sorted(named, key=lambda one: -one[0])

    def _lengths_of(self, first: str) -> Collection[int]:
        lengths = self._lengths.get(first, ())
        return (lengths,) if isinstance(lengths, int) else lengths

    def _keys(self, forms: Iterable[str]) -> set[Words]:
        return all_keys(words for form in spoken_forms(forms) if (words := words_of(form)))

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
