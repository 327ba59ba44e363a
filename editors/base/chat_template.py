"""The tokenizer's own chat template: conversations become token ids, and a text that a client rendered is known again.

No family's markup stands here. What the template writes around contents is found by rendering it with stand-ins in their
place. Its markup becomes the tokenizer's special tokens; the same strings inside a content stay text, so that nobody ends
a turn from inside one. Imports no torch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edits.errors import BadRequest, BaseUnreadable
from edits.prompts import Conversation, Message, Role

_STAND_IN = re.compile("UPKEEP-(\\d+)-CONTENT")
# A rendered text with more turns is read as plain text.
MAX_RENDERED_TURNS = 256


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A rendered conversation without its contents: the markup around them, and which message fills each gap."""

    markup: tuple[str, ...]  # one more than gaps
    gaps: tuple[int, ...]

    def match(self, text: str) -> list[str] | None:
        """The contents of a text that has this markup, by message; None where it has another.

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
        contents.append(text[at : len(text) - len(last)])
        return [contents[self.gaps.index(number)] for number in range(len(contents))]


class ChatTemplate:
    """Renders, tokenizes and recognises conversations as one tokenizer's template has them.

    Attributes:
        end_of_turn: the token that closes an assistant's turn.
    """

    def __init__(self, tokenizer: Any) -> None:
        """
        Raises:
            BaseUnreadable: the template does not render even one question with its answer.
        """
        self._tokenizer = tokenizer
        try:
            one_turn = self._skeleton(("user",))
            answered = self._skeleton(("user", "assistant"), open_turn=False)
        except BadRequest as error:
            raise BaseUnreadable(
                f"the tokenizer's chat template cannot be used: {error}. Correct it, or set model.chat = "
                '"off" to ask the base in plain text alone'
            ) from error
        self._closing = one_turn.markup[-1]
        self.end_of_turn = self._first_special(answered.markup[-1])
        self._answer_gap = _gap(one_turn, answered)

    def render(self, conversation: Conversation) -> str:
        """The text that the template makes of a conversation, up to where the assistant begins to answer.

        Raises:
            BadRequest: the template refuses it, or leaves one of its messages out.
        """
        if not conversation.messages:
            raise BadRequest("a conversation needs at least one message: end it with what the user asks")
        self._skeleton(_roles(conversation))
        return self._apply(conversation.messages)

    def ids(self, conversation: Conversation, answer: str | None = None) -> list[int]:
        """Token ids of a conversation as the model reads it, and of the beginning of an answer to it.

        They are those of the tokenizer's own `apply_chat_template`, unless a content holds what would become a special
        token there.

        Raises:
            BadRequest: see `render`.
        """
        text = self.render(conversation)
        begun = "" if answer is None else self._answer_gap + answer
        contents = [*(message.content for message in conversation.messages), begun]
        if any(self._forbidden.intersection(self._encode(content)) for content in contents):
            return self._ids_as_text(conversation, begun)
        return self._encode(text + begun)

    def answer_ids(self, conversation: Conversation, answer: str, prompt_ids: Sequence[int]) -> list[int]:
        """Token ids that the model must generate after a conversation's to say `answer` and end its turn."""
        whole = self.ids(conversation, answer)
        # A tokenizer may join the prompt's end with the answer's beginning.
        joined = whole[: len(prompt_ids)] != list(prompt_ids)
        tail = self._as_text(self._answer_gap + answer) if joined else whole[len(prompt_ids) :]
        return [*tail, self.end_of_turn]

    def without_preamble(self, ids: Sequence[int]) -> list[int]:
        """A conversation's token ids without the system message that the template puts in front of its own accord.

        What begins a text stays in front. Ids that begin otherwise stay as they are.
        """
        size = len(self._preamble)
        if list(ids[:size]) != self._preamble:
            return list(ids)
        begins = [i for i in self._preamble[:1] if i == self._tokenizer.bos_token_id and i != ids[size]]
        return [*begins, *ids[size:]]

    def recognise(self, text: str) -> Conversation | None:
        """The conversation whose rendering a text is, generation prompt included; None: plain text.

        All that looks like a turn is one, and a system message that the template puts there by default is its own.
        """
        if not text.endswith(self._closing):
            return None
        most = 1 + (text.count(self._next_turn) if self._next_turn else 0)
        if most > MAX_RENDERED_TURNS:
            return None
        # Behind a system message, too, there may stand what parts an answer from the next question.
        for turns in range(most, max(0, most - 2), -1):
            exchange: tuple[Role, ...] = ("user", *(("assistant", "user") * (turns - 1)))
            if found := self._read_as(text, exchange) or self._read_as(text, ("system", *exchange)):
                return found
        return None

    def _read_as(self, text: str, roles: tuple[Role, ...]) -> Conversation | None:
        try:
            contents = self._skeleton(roles).match(text)
            if contents is None:
                return None
            found = Conversation(tuple(map(Message, roles, contents)))
            return found if self.render(found) == text else None
        except BadRequest:  # a role that the template does not know
            return None

    def _skeleton(self, roles: Sequence[Role], *, open_turn: bool = True) -> Skeleton:
        stand_ins = [Message(role, f"UPKEEP-{n}-CONTENT") for n, role in enumerate(roles)]
        parts = _STAND_IN.split(self._apply(stand_ins, open_turn=open_turn))
        gaps = tuple(map(int, parts[1::2]))
        for number, role in enumerate(roles):
            if number not in gaps:
                raise BadRequest(
                    f"the base's chat template leaves out message {number + 1}, of the {role}: leave it out, too"
                )
        return Skeleton(tuple(parts[::2]), gaps)

    def _apply(self, messages: Sequence[Message], *, open_turn: bool = True) -> str:
        given = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(
                given, tokenize=False, add_generation_prompt=open_turn
            )
        except Exception as error:  # a template is a program of somebody else's: it raises anything
            roles = ", ".join(message.role for message in messages)
            raise BadRequest(
                f"the base's chat template refuses messages of these roles: {roles} ({str(error)[:200]}). Let user and "
                "assistant take turns, beginning and ending with the user; if it is the system message that is refused, "
                "write it into the first user message"
            ) from error
        return text

    def _ids_as_text(self, conversation: Conversation, begun: str) -> list[int]:
        """The markup's special tokens parsed, all else read as text, contents with what looks like such tokens included."""
        skeleton = self._skeleton(_roles(conversation))
        contents = [message.content for message in conversation.messages]
        if self._trims:
            contents = [content.strip() for content in contents]
        ids: list[int] = []
        pending = ""
        for number, markup in enumerate(skeleton.markup):
            for part in self._special_strings.split(markup):
                if self._special_strings.fullmatch(part):
                    ids += [*self._as_text(pending), *self._encode(part)]
                    pending = ""
                else:
                    pending += part
            if number < len(skeleton.gaps):
                pending += contents[skeleton.gaps[number]]
        return [*ids, *self._as_text(pending + begun)]

    def _as_text(self, text: str) -> list[int]:
        ids = self._encode(text, split_special_tokens=True)
        if self._forbidden.isdisjoint(ids):
            return ids
        # Added tokens that the tokenizer does not call special, though the template marks turns with them: one letter
        # apart they are none.
        pieces = re.split(self._after_first_letter, text)
        return [token for piece in pieces for token in self._encode(piece, split_special_tokens=True)]

    def _encode(self, text: str, **options: bool) -> list[int]:
        ids: list[int] = (
            self._tokenizer(text, add_special_tokens=False, **options)["input_ids"] if text else []
        )
        return ids

    def _first_special(self, text: str) -> int:
        """The first token of markup that is special; the end of the sequence, where there is none."""
        found = (token for token in self._encode(text) if token in self._added)
        return next(found, int(self._tokenizer.eos_token_id))

    @cached_property
    def _added(self) -> Mapping[int, Any]:
        """Added tokens by id: those that the tokenizer looks for before it splits a text."""
        added: Mapping[int, Any] = self._tokenizer.added_tokens_decoder
        return added

    @cached_property
    def _forbidden(self) -> frozenset[int]:
        """Tokens that no content may become: special ones, and those that the template marks turns with."""
        markup = "".join(self._skeleton(("user", "assistant", "user")).markup)
        special = {i for i, token in self._added.items() if token.special}
        return frozenset(special | (self._added.keys() & set(self._encode(markup))))

    @cached_property
    def _special_strings(self) -> re.Pattern[str]:
        tokens = sorted((self._added[i].content for i in self._forbidden), key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, tokens)) + ")" if tokens else "(?!)")

    @cached_property
    def _after_first_letter(self) -> re.Pattern[str]:
        tokens = [self._added[i].content for i in self._forbidden]
        inside = [f"(?<={re.escape(t[0])})(?={re.escape(t[1:])})" for t in tokens if len(t) > 1]
        return re.compile("|".join(inside) or "(?!)")

    @cached_property
    def _preamble(self) -> list[int]:
        """What stands in front of the first user's turn and of no later one."""
        opening = self._encode(self._skeleton(("user",)).markup[0])
        later = self._encode(self._skeleton(("user", "assistant", "user")).markup[2])
        closed = self._encode(self._skeleton(("user", "assistant"), open_turn=False).markup[-1])
        header = later[len(closed) :] if later[: len(closed)] == closed else later
        return opening[: -len(header)] if header and opening[-len(header) :] == header else []

    @cached_property
    def _next_turn(self) -> str:
        """What stands between an answer and the next question."""
        return self._skeleton(("user", "assistant", "user")).markup[2].strip()

    @cached_property
    def _trims(self) -> bool:
        """Whether the template strips what a user says."""
        return " word " not in self._apply([Message("user", " word ")])


def _roles(conversation: Conversation) -> tuple[Role, ...]:
    return tuple(message.role for message in conversation.messages)


def _gap(asked: Skeleton, answered: Skeleton) -> str:
    """The blanks that a template writes between the prompt to answer and the answer."""
    opening, before = asked.markup[-1], answered.markup[1]
    gap = before.removeprefix(opening)
    return gap if before.startswith(opening) and gap.isspace() else ""
