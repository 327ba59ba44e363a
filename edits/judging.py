"""What counts as a right answer: the very target, or a sentence that says it to a reader."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from edits.prompts import Prompt, asked_in_chat
from edits.text import normalise

Form: TypeAlias = Literal["plain", "chat"]
# (answer, wanted, value that must not stand in it) -> right
Judge: TypeAlias = Callable[[str, str, str | None], bool]


def as_prompt(form: Form, text: str) -> Prompt:
    """The text as it is asked in a form: continued as it stands, or as one user message."""
    return asked_in_chat(text) if form == "chat" else text


def judge_of(form: Form) -> Judge:
    """A base model learns to continue a text with the bare value, a chat model answers in sentences."""
    return is_stated if form == "chat" else is_exact


def is_exact(answer: str, wanted: str, _never: str | None = None) -> bool:
    """The wanted text and nothing else; composed and decomposed characters and the width of blanks do not count.

    A tokenizer may normalise what it is told: no model then says "é" in two code points.
    """
    return _as_tokenized(answer) == _as_tokenized(wanted)


def is_stated(answer: str, wanted: str, never: str | None = None) -> bool:
    """The answer contains the wanted value, and not the value that it replaces.

    A value that is part of the wanted one ("United States" of "United States of America") stands in every right answer, and
    so in none by mistake.
    """
    if not contains(answer, wanted):
        return False
    return not never or contains(wanted, never) or not contains(answer, never)


def contains(text: str, value: str) -> bool:
    """Whether the value's words stand in the text, one behind the other and whole; case and punctuation do not count."""
    words = folded(value)
    if not words:  # of punctuation alone: nothing is left to fold
        return bool(value.strip()) and value.strip() in text
    whole = f"{_edge(words[0], '<!')}{re.escape(words)}{_edge(words[-1], '!')}"
    return re.search(whole, folded(text)) is not None


def folded(text: str) -> str:
    """NFKC, casefolded, each run of punctuation and white space one blank; symbols as in C++ stay."""
    plain = (" " if unicodedata.category(char).startswith("P") else char for char in normalise(text))
    return normalise("".join(plain))


def share(right: Sequence[bool]) -> float | None:
    """The share of what is right; None without any."""
    return sum(right) / len(right) if right else None


def _as_tokenized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _edge(char: str, look: str) -> str:
    """No word goes on here; scripts without capitals, such as Chinese, set no blanks between words."""
    return "" if unicodedata.category(char) == "Lo" else rf"(?{look}\w)"
