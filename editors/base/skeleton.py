"""What a chat template writes around messages: found by rendering stand-ins in their place. Imports no torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edits.errors import BadRequest
from edits.prompts import Message, Role

_CONTENT = re.compile(r"UPKEEP-(\d+)-CONTENT")
_DATE = re.compile(r"UPKEEP-([^\n]{0,40}?)-DATE")


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A rendered conversation without its contents: the markup around them, and which message fills each gap."""

    markup: tuple[str, ...]  # one more than gaps
    gaps: tuple[int, ...]

    def match(self, text: str) -> list[str] | None:
        """The contents of a text that has this markup, in its order; None where it has another.

        A content ends where the markup behind it first stands: one look through the text, whatever it holds.
        """
        first, *between, last = self.markup
        if not text.startswith(first) or sorted(self.gaps) != list(range(len(self.gaps))):
            return None
        contents, at = [], len(first)
        for markup in between:
            end = text.find(markup, at)
            if end < 0:
                return None
            contents.append(text[at:end])
            at = end + len(markup)
        if len(text) < at + len(last) or not text.endswith(last):
            return None
        return [*contents, text[at : len(text) - len(last)]]


def stand_ins(roles: Sequence[Role]) -> list[Message]:
    """Messages of these roles, to be rendered and taken apart again."""
    return [Message(role, f"UPKEEP-{number}-CONTENT") for number, role in enumerate(roles)]


def skeleton_of(rendered: str, roles: Sequence[Role]) -> Skeleton:
    """The markup of rendered stand-ins.

    Raises:
        BadRequest: the template left one of them out.
    """
    parts = _CONTENT.split(rendered)
    gaps = tuple(map(int, parts[1::2]))
    for number, role in enumerate(roles):
        if number not in gaps:
            raise BadRequest(
                f"the base's chat template leaves out message {number + 1}, of the {role}: leave it out, too"
            )
    return Skeleton(tuple(parts[::2]), gaps)


def date_stand_in(form: str) -> str:
    """What is rendered in place of a date of this format."""
    return f"UPKEEP-{form}-DATE"


def holds_date(text: str) -> bool:
    """Whether a date's stand-in is in a text."""
    return _DATE.search(text) is not None


def dated_pattern(text: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A text with any dates in place of their stand-ins, and the formats of these."""
    parts = _DATE.split(text)
    pattern = r"([\w ,./:+-]{1,40}?)".join(map(re.escape, parts[::2]))
    return re.compile(pattern), tuple(parts[1::2])
