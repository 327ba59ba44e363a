"""The sentences of a text, and names in it."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from editors.index.wording.abbreviations import ends_abbreviation, goes_on
from edits.names.segmentation import ReadText

# A sentence ends at a line break, or at a mark that something follows.
_SENTENCE_END = re.compile(r"(?<![.?!])[.?!]++[\"')\]]*+\s+|\n+")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A name in a text: characters `start` to `end` of its normalised form."""

    start: int
    end: int


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
