"""Where a generated answer ends, and how much of it is its text: by the form of the prompt. Imports no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

# What a token does to an answer: nothing, ends it as its last one, or ends it and is no part of it.
Verdict: TypeAlias = Literal["goes on", "ends with it", "ends before it"]


@dataclass(frozen=True, slots=True)
class LineTokens:
    """A vocabulary's tokens with a line break in them, and those that are white space alone.

    Attributes:
        breaks: all with a line break.
        finish: of these, those with text in front of their last break, as ")\\n" has.
        begin: of these, those with text behind their last break, as "\\n}" has.
        blank: white space alone, with a break or without.
    """

    breaks: frozenset[int] = frozenset()
    finish: frozenset[int] = frozenset()
    begin: frozenset[int] = frozenset()
    blank: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Ending:
    """The token ids that stop an answer; `one_line`: its text is its first line that is not blank.

    Attributes:
        lines: where the break of that line is a token's, generation ends with it; blank lines in front are read over.
    """

    stop_ids: frozenset[int]
    one_line: bool
    lines: LineTokens = LineTokens()

    def stops(self, row: Sequence[int]) -> bool:
        """Whether a token that may stop an answer is among generated ids."""
        return any(token in self.stop_ids or token in self.lines.breaks for token in row)

    def until_stop(self, row: Sequence[int]) -> list[int]:
        """Generated ids up to and with the first that stops an answer."""
        return self._truncated(row, with_stop=True)

    def before_stop(self, row: Sequence[int]) -> list[int]:
        """Generated ids up to and without the first that stops an answer; with it where it has some of the answer's text."""
        return self._truncated(row, with_stop=False)

    def is_closed(self, output: Sequence[int]) -> bool:
        """Whether what `before_stop` left ends with the token that stopped it."""
        progress = AnswerProgress(self)
        return any(progress.push(token) == "ends with it" for token in output)

    def text(self, decoded: str) -> str:
        """What was decoded as the answer's text, stripped."""
        if not self.one_line:
            return decoded.strip()
        return next((line.strip() for line in decoded.split("\n") if line.strip()), "")

    def _truncated(self, row: Sequence[int], *, with_stop: bool) -> list[int]:
        progress = AnswerProgress(self)
        for place, token in enumerate(row):
            verdict = progress.push(token)
            if verdict != "goes on":
                return list(row[: place + (with_stop or verdict == "ends with it")])
        return list(row)


class AnswerProgress:
    """One answer while it is generated: whether its next token ends it."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self._begun = False  # whether its line has any text

    def push(self, token: int) -> Verdict:
        """One more token."""
        lines = self._ending.lines
        if token in self._ending.stop_ids:
            return "ends before it"
        if token not in lines.breaks:
            self._begun = self._begun or token not in lines.blank
            return "goes on"
        if token in lines.finish:
            return "ends with it"
        if self._begun:
            return "ends before it"
        self._begun = token in lines.begin
        return "goes on"


def plain_ending(tokenizer: Any, eos_ids: Iterable[int]) -> Ending:
    """A plain prompt's answer is one line: a token with a newline in it stops it, as the ends of a sequence do."""
    return Ending(frozenset(eos_ids), one_line=True, lines=line_tokens(tokenizer))


def chat_ending(end_of_turn: int, eos_ids: Iterable[int]) -> Ending:
    """An answer in a conversation has as many lines as it likes: the end of a turn stops it."""
    return Ending(frozenset((*eos_ids, end_of_turn)), one_line=False)


def line_tokens(tokenizer: Any) -> LineTokens:
    """Which of a tokenizer's ids have line breaks or nothing but white space."""
    special = set(tokenizer.all_special_ids)
    breaks, finish, begin, blank = set[int](), set[int](), set[int](), set[int]()
    for token, number in tokenizer.get_vocab().items():
        text = _plain(token)
        if not text.strip() and number not in special:
            blank.add(number)
        if "\n" in text:
            breaks.add(number)
            before, _, behind = text.rpartition("\n")
            finish |= {number} if before.strip() else set()
            begin |= {number} if behind.strip() else set()
    return LineTokens(frozenset(breaks), frozenset(finish), frozenset(begin), frozenset(blank))


# Byte-level BPE writes a newline as "Ċ", SentencePiece as "<0x0A>" or itself; spaces, tabs and returns likewise.
_WRITTEN = (
    ("Ċ", "\n"),
    ("<0x0A>", "\n"),
    ("Ġ", " "),
    ("▁", " "),
    ("ĉ", "\t"),
    ("č", "\r"),
    ("<0x09>", "\t"),
    ("<0x0D>", "\r"),
)


def _plain(token: str) -> str:
    for written, meant in _WRITTEN:
        token = token.replace(written, meant)
    return token
