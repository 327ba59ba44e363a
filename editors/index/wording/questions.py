"""What a text asks, apart from whom it asks about: the part that is read, with the name masked."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from editors.index.wording.carrying import POSSESSIVE, may_mean, pronouns_in
from editors.index.wording.plain_wording import plain_wording
from editors.index.wording.sentences import Occurrence, sentences
from editors.index.wording.wrappings import asks, filled, wrapped
from edits.names.attached import all_keys
from edits.names.segmentation import ReadText, Words, read_text, recent, words_of
from edits.names.surface import find_keys

# What stands in a text in place of the name. Measured against others (docs/experiments.md).
MASK = "x"
_RUN = re.compile(rf"\b{MASK}(?:\W{{1,2}}{MASK}\b)+")
# Of an earlier turn so much is read for the name that a pronoun means.
MAX_EARLIER = 4096


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


def readings(turns: Sequence[str], names: Iterable[Words]) -> list[str]:
    """The parts of a prompt that may ask about a name, masked; empty where nothing is asked of it.

    Of the last turn: the last sentence that has the name, alone and with what follows, unless something else is asked behind
    it (`asks`). Where an earlier sentence or turn has the name: the sentence that asks, if a pronoun there may mean it.

    Args:
        turns: what the user said, in order; of a plain prompt, the prompt alone.
    """
    names, written = tuple(names), recent(turns[-1])
    last = read_text(written)
    at = find_name(last, names)
    parts = list(sentences(last, at))
    starts = [name.start for name in at]
    naming = [n for n, (a, b) in enumerate(parts) if bisect_left(starts, a) < bisect_left(starts, b)]
    found: list[str] = []
    if naming and asks(last, parts[naming[-1]], parts[naming[-1] + 1 :], written=written):
        part = wrapped(last, at, parts[naming[-1]])
        found = [filled(masked(last, at, part)), masked(last, at, (part[0], len(last.plain)))]
        found += [masked(last, at, parts[naming[-1]])] if part[0] != parts[naming[-1]][0] else []
    later = parts[naming[-1] + 1 :] if naming else parts if len(turns) > 1 else []
    earlier = [turn[-MAX_EARLIER:] for turn in turns[:-1]]
    found += _carried((*earlier, written), names, later)
    return list(dict.fromkeys(found))


def _carried(turns: Sequence[str], names: Sequence[Words], later: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Of sentences without the name: the last, and the question before what asks nothing, with their pronouns masked."""
    last = read_text(turns[-1])
    questions = [n for n, part in enumerate(later) if "?" in last.plain[slice(*part)]]
    chosen = {len(later) - 1, *questions[-1:]} if later else set()
    for n in sorted(chosen):
        meant = pronouns_in(last, later[n])
        asking = meant and asks(last, later[n], later[n + 1 :], written=turns[-1])
        if asking and may_mean(names, turns, later[n], lambda text: find_name(text, names)):
            part = wrapped(last, meant, later[n])
            yield _replaced(last, meant, part, lambda word: MASK + "'s" * (word in POSSESSIVE))
