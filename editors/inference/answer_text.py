"""The text of an answer while it grows: decoded as it continues its prompt, ended by stop texts, never half a character."""

from collections.abc import Sequence
from typing import Any

# So many tokens in front tell a tokenizer how the next one begins (with a space or without).
CONTEXT_TOKENS = 6
_HALF = "\ufffd"  # what a character decodes to whose bytes are not all there


class AnswerText:
    """Generated tokens as text: `settled` may be sent, for no later token changes it.

    What is not stripped stays: a continuation begins with the space that it needs.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int], stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt_ids[-CONTEXT_TOKENS:])
        self._from = 0  # where what is decoded begins
        self._done = len(self._ids)  # how many ids are in the text
        self._stops = tuple(stops)
        self._text = ""
        self.stopped = False

    def push(self, token: int) -> None:
        """One more token; with stop texts it is read at once, else when somebody asks."""
        self._ids.append(token)
        if self._stops:
            self._read(final=False)

    @property
    def settled(self) -> str:
        """The text so far, without what may still become another character or a stop text."""
        self._read(final=False)
        return self._text if self.stopped else self._text[: len(self._text) - self._held_back()]

    def whole(self) -> str:
        """All of the text: no token follows."""
        self._read(final=True)
        return self._text

    def _read(self, *, final: bool) -> None:
        if self.stopped or self._done == len(self._ids):
            return
        old = self._decode(self._ids[self._from : self._done])
        new = self._decode(self._ids[self._from :])
        if new.endswith(_HALF) and not final:
            return
        searched = max(0, len(self._text) - max(map(len, self._stops), default=0))
        self._text += new[len(old) :]
        self._from, self._done = self._done, len(self._ids)
        found = [at for stop in self._stops if (at := self._text.find(stop, searched)) >= 0]
        if found:
            self._text, self.stopped = self._text[: min(found)], True

    def _held_back(self) -> int:
        """How many characters at the end may be the beginning of a stop text."""
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, min(len(stop), len(self._text) + 1))
                if self._text.endswith(stop[:size])
            ),
            default=0,
        )

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
