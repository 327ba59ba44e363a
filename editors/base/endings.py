"""Where a generated answer ends, and how much of it is its text: by the form of the prompt. Imports no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ending:
    """The token ids that stop an answer; `one_line`: its text ends with its first line."""

    stop_ids: frozenset[int]
    one_line: bool

    def stops(self, row: Sequence[int]) -> bool:
        """Whether a token that stops an answer is among generated ids."""
        return any(token in self.stop_ids for token in row)

    def until_stop(self, row: Sequence[int]) -> list[int]:
        """Generated ids up to and with the first that stops an answer."""
        end = next((i for i, token in enumerate(row) if token in self.stop_ids), len(row))
        return list(row[: end + 1])

    def before_stop(self, row: Sequence[int]) -> list[int]:
        """Generated ids up to and without the first that stops an answer."""
        closed = self.until_stop(row)
        return closed[:-1] if closed and closed[-1] in self.stop_ids else closed

    def text(self, decoded: str) -> str:
        """What was decoded as the answer's text, stripped."""
        return (decoded.split("\n", 1)[0] if self.one_line else decoded).strip()


def plain_ending(tokenizer: Any, eos_ids: Iterable[int]) -> Ending:
    """A plain prompt's answer is one line: any token with a newline in it stops it, as the ends of a sequence do."""
    return Ending(frozenset((*eos_ids, *_newline_token_ids(tokenizer))), one_line=True)


def chat_ending(end_of_turn: int, eos_ids: Iterable[int]) -> Ending:
    """An answer in a conversation has as many lines as it likes: the end of a turn stops it."""
    return Ending(frozenset((*eos_ids, end_of_turn)), one_line=False)


def _newline_token_ids(tokenizer: Any) -> list[int]:
    # Byte-level BPE writes a newline as "Ċ", SentencePiece as "<0x0A>" or itself.
    marks = ("\n", "Ċ", "<0x0A>")
    return sorted(i for token, i in tokenizer.get_vocab().items() if any(mark in token for mark in marks))
