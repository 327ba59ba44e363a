"""A text that a client rendered with the chat template, read back as the messages that it was made of. Imports no torch.

Clients do not always send what the template itself gives: they leave out what begins a sequence, strip the end, switch
thinking off, render on another day or without the default system message, and begin the answer. A reading counts only if
the template makes just this text of its messages, but for these.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from editors.base.skeleton import Skeleton, date_stand_in, dated_pattern, holds_date, skeleton_of, stand_ins
from edits.errors import BadRequest
from edits.prompts import Conversation, Message, Role

# A rendered text with more turns is read as plain text.
MAX_RENDERED_TURNS = 256
# What a client may have told the template.
_SWITCHES: tuple[Mapping[str, Any], ...] = ({}, {"enable_thinking": False})
# Conversations from which it is learned how one turn follows another; the usual one first.
_SAMPLES: tuple[tuple[Role, ...], ...] = (
    ("user", "assistant", "user"),
    ("system", "user"),
    ("user", "user"),
    ("user", "assistant", "assistant", "user"),
    ("user", "system", "user"),
    ("user", "assistant", "system", "user"),
)

# Put before a template, it gives the dates that it is told; transformers hands it no function of ours.
_CLOCK = (
    "{%- macro strftime_now(form) -%}"
    "{{ upkeep_dates[form] if form in upkeep_dates else 'UPKEEP-' ~ form ~ '-DATE' }}"
    "{%- endmacro %}{{ '' }}"
)
_NO_DATES: Mapping[str, str] = {}

# Messages, whether the assistant's turn is opened, and options of the template, to text; BadRequest where it refuses them.
Render = Callable[[Sequence[Message], bool, Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Reading:
    """A rendered text: its messages, and the text itself, markup and contents in turns.

    Attributes:
        markup: one more than contents; the last one holds the answer that was begun.
        contents: in the order of the text, which need not be that of the messages.
        begun: the answer that the client began; "": none.
    """

    conversation: Conversation
    markup: tuple[str, ...]
    contents: tuple[str, ...]
    begun: str = ""

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(part for pair in zip(self.markup, (*self.contents, ""), strict=True) for part in pair)


class RenderedTexts:
    """Knows the texts that one template renders."""

    def __init__(self, render: Render, *, source: str, bos: str, added: Sequence[str]) -> None:
        """
        Args:
            source: the template's own text; "": unknown, and no other date than today's is known again.
            bos: the token that begins a sequence, as text; "": none.
            added: the tokenizer's added tokens, of which the template marks turns with some.
        """
        self._render = render
        self._source = source
        self._bos = bos
        self._added = added

    def read(self, text: str) -> Reading | None:
        """The messages that a text was rendered from, up to where the assistant begins to answer, or has begun to."""
        for begun in (False, True):
            for form in self._forms:
                if (found := form.read(text, begun=begun)) is not None:
                    return found
        return None

    @cached_property
    def _forms(self) -> list["_Form"]:
        forms: list[_Form] = []
        for switch in _SWITCHES:
            form = _Form(self._render, self._source, switch, self._bos, self._added)
            if all(form.asked != other.asked for other in forms):
                forms.append(form)
        return forms


@dataclass(frozen=True, slots=True)
class _Opening:
    """How a rendered text may begin, up to its first message.

    Attributes:
        role: the first message's.
        text: what stands in front of it, in the client's text.
        whole: the same as the template has it.
        pattern: matches `text`, its dates are groups.
        dates: the formats of these.
    """

    role: Role
    text: str
    whole: str
    pattern: re.Pattern[str] = field(init=False)
    dates: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        pattern, dates = dated_pattern(self.text)
        object.__setattr__(self, "pattern", pattern)
        object.__setattr__(self, "dates", dates)


class _Form:
    """The texts that a template renders with one set of switches.

    Attributes:
        asked: one question.
    """

    def __init__(
        self, render: Render, source: str, switch: Mapping[str, Any], bos: str, added: Sequence[str]
    ) -> None:
        self._apply = render
        self._switch = switch
        self._added = added
        self._source = source
        self._dated = self._writes_dates()
        self.asked = self._skeleton(("user",))
        self._closing = self.asked.markup[-1]
        self._closing_core = self._closing.rstrip()
        self._closed = self._skeleton(("user", "assistant"), open_turn=False).markup[-1]
        self._bos = bos if self.asked.markup[0].startswith(bos) else ""

    def read(self, text: str, *, begun: bool) -> Reading | None:
        """The messages of a text; `begun`: with some of the answer behind them."""
        parts = self._split_begun(text) if begun else self._completed(text)
        if parts is None:
            return None
        asked, answer = parts
        without_bos = not asked.startswith(self._bos)
        for opening in self._openings:
            if not without_bos or opening.text.removeprefix(self._bos).strip():
                found = self._read_from(opening, self._bos * without_bos + asked, answer)
                if found is not None:
                    return found
        return None

    def _completed(self, text: str) -> tuple[str, str] | None:
        """A text that ends where the answer begins, with the blanks there as the template has them."""
        if not self._closing_core:
            return (text, "") if text.endswith(self._closing) else None
        asked = text.rstrip()
        if not asked.endswith(self._closing_core):
            return None
        return asked + self._closing[len(self._closing_core) :], ""

    def _split_begun(self, text: str) -> tuple[str, str] | None:
        """A text up to where the answer begins, and what of it there is: no turn ends or begins in that."""
        if not self._closing_core:
            return None
        at = text.rfind(self._closing)
        begun = text[at + len(self._closing) :]
        if at < 0 or not begun.strip() or self._holds_mark(begun):
            return None
        return text[: at + len(self._closing)], begun

    def _holds_mark(self, text: str) -> bool:
        return any(mark in text for mark in self._marks) or bool(self._next["assistant"].search(text))

    @cached_property
    def _marks(self) -> frozenset[str]:
        """What marks turns, but for what stands only where an answer begins."""
        turns = "".join(markup for _, skeleton in self._samples for markup in skeleton.markup[:-1])
        marks = {token for token in self._added if token in turns + self._closed}
        return frozenset({*marks, self._closing.strip(), self._closed.strip()} - {""})

    def _read_from(self, opening: _Opening, text: str, begun: str) -> Reading | None:
        start = opening.pattern.match(text)
        if start is None:
            return None
        dates = dict(zip(opening.dates, start.groups(), strict=True))
        whole = text if opening.whole == opening.text else opening.whole + text[start.end() :]
        for roles in self._possible_roles(opening.role, text, start.end(), begun):
            found = self._read_as(whole, roles, dates)
            if found is None or (begun and any(self._holds_mark(content) for content in found.contents)):
                continue
            *between, last = found.markup[1:]
            markup = (text[: start.end()], *between, last + begun)
            return Reading(found.conversation, markup, found.contents, begun)
        return None

    def _possible_roles(self, first: Role, text: str, at: int, begun: str) -> Iterator[tuple[Role, ...]]:
        """Whose turns a text may have: all that looks like a turn is one; else, where nothing was begun, one question."""
        roles = [first]
        end = len(text) - len(self._closing)
        while turn := self._next[roles[-1]].search(text, at, max(at, end)):
            roles.append(self._turns[roles[-1]][turn[0]])
            at = turn.end()
            if len(roles) > 2 * MAX_RENDERED_TURNS:
                return
        if "user" in roles:
            yield tuple(roles)
        single: tuple[Role, ...] = ("user",) if first == "user" else (first, "user")
        if not begun and tuple(roles) != single:
            yield single

    def _read_as(self, text: str, roles: tuple[Role, ...], dates: Mapping[str, str]) -> Reading | None:
        try:
            skeleton = self._skeleton(roles, dates=dates)
            contents = skeleton.match(text)
            if contents is None:
                return None
            ordered = [contents[skeleton.gaps.index(number)] for number in range(len(contents))]
            conversation = Conversation(tuple(map(Message, roles, ordered)))
            same = self._render(conversation.messages, dates=dates) == text
        except BadRequest:  # roles that the template does not know
            return None
        return Reading(conversation, skeleton.markup, tuple(contents)) if same else None

    @cached_property
    def _samples(self) -> list[tuple[tuple[Role, ...], Skeleton]]:
        """How the template renders some conversations: those that it knows, with all messages in order."""
        found = []
        for roles in _SAMPLES:
            try:
                skeleton = self._skeleton(roles)
            except BadRequest:
                continue
            if skeleton.gaps == tuple(range(len(roles))):
                found.append((roles, skeleton))
        return found

    @cached_property
    def _turns(self) -> dict[Role, dict[str, Role]]:
        """By the role of a message, what may stand behind it, and whose turn that begins.

        What two roles share is the one's that comes first among the samples; a question never passes for an answer.
        """
        found: dict[Role, dict[str, Role]] = {"user": {}, "assistant": {}, "system": {}}
        shared: set[tuple[Role, str]] = set()
        for roles, skeleton in self._samples:
            for before, role, markup in zip(roles, roles[1:], skeleton.markup[1:], strict=False):
                if markup.strip() and found[before].setdefault(markup, role) != role != "system":
                    shared.add((before, markup))
        for before, markup in shared:
            del found[before][markup]
        return found

    @cached_property
    def _next(self) -> dict[Role, re.Pattern[str]]:
        """By the role of a message, all that may stand behind it; the longest first."""
        longest = {role: sorted(turns, key=len, reverse=True) for role, turns in self._turns.items()}
        return {role: re.compile("|".join(map(re.escape, one)) or "(?!)") for role, one in longest.items()}

    @cached_property
    def _openings(self) -> list[_Opening]:
        """How a text may begin: with a question, with one without the default system message, with a system message."""
        first = self.asked.markup[0]
        openings = [_Opening("user", first, first)]
        bos, header = self._bos, self._header
        if header and first.endswith(header) and first != bos + header:
            openings.append(_Opening("user", bos + header, first))
        for roles, skeleton in self._samples:
            if roles[0] == "system" and skeleton.markup[0].strip():
                openings.append(_Opening("system", skeleton.markup[0], skeleton.markup[0]))
        # The one that says more goes first: a system message within the first question has marks behind that's.
        return sorted(openings, key=lambda opening: -len(opening.text))

    @cached_property
    def _header(self) -> str:
        """What opens a later question."""
        behind_answer = next((skeleton.markup[2] for roles, skeleton in self._samples if len(roles) > 2), "")
        return behind_answer.removeprefix(self._closed) if behind_answer.startswith(self._closed) else ""

    def _writes_dates(self) -> bool:
        """Whether the template writes a date, and can be told which."""
        asked = stand_ins(("user",))
        if "strftime_now" not in self._source and "date_string" not in self._source:
            return False
        self._dated = True
        try:
            dated = self._render(asked)
        except BadRequest:
            return False
        return holds_date(dated) and bool(
            dated_pattern(dated)[0].fullmatch(self._apply(asked, True, self._switch))
        )

    def _skeleton(
        self, roles: Sequence[Role], *, open_turn: bool = True, dates: Mapping[str, str] = _NO_DATES
    ) -> Skeleton:
        return skeleton_of(self._render(stand_ins(roles), open_turn=open_turn, dates=dates), roles)

    def _render(
        self, messages: Sequence[Message], *, open_turn: bool = True, dates: Mapping[str, str] = _NO_DATES
    ) -> str:
        """A conversation with these dates, by their format; with stand-ins for the others."""
        told: dict[str, Any] = {}
        if self._dated:
            told = {"chat_template": _CLOCK + self._source, "upkeep_dates": dict(dates)}
            told["date_string"] = dates.get("", date_stand_in(""))
        return self._apply(messages, open_turn, {**self._switch, **told})
