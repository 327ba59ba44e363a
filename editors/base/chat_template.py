"""The tokenizer's own chat template: conversations become token ids, and a text that a client rendered is known again.

No family's markup stands here. What the template writes around contents is found by rendering it with stand-ins in their
place. Its markup becomes the tokenizer's special tokens; the same strings inside a content stay text, so that nobody ends
a turn from inside one. Imports no torch.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

from editors.base.rendered_text import Reading, RenderedTexts
from editors.base.skeleton import Skeleton, skeleton_of, stand_ins
from edits.errors import BadRequest, BaseUnreadable
from edits.prompts import Conversation, Message, Role

# Whether the base is asked through its chat template, too: where its tokenizer has one that can be used, always, never.
ChatMode: TypeAlias = Literal["auto", "on", "off"]

_log = logging.getLogger(__name__)


class ChatTemplate:
    """Renders, tokenizes and recognises conversations as one tokenizer's template has them.

    Attributes:
        end_of_turn: the token that closes an assistant's turn.
    """

    def __init__(self, tokenizer: Any) -> None:
        """
        Raises:
            BaseUnreadable: the template does not render even one question with its answer, or closes an answer with what
                is no token.
        """
        self._tokenizer = tokenizer
        try:
            one_turn = self._skeleton(("user",))
            answered = self._skeleton(("user", "assistant"), open_turn=False)
        except BadRequest as error:
            raise BaseUnreadable(self._unusable(self._why_refused() or str(error))) from error
        self.end_of_turn = self._end_of_turn(answered.markup[-1])
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

    def ids(self, asked: Conversation | Reading, answer: str | None = None) -> list[int]:
        """Token ids of a conversation as the model reads it, and of the beginning of an answer to it.

        They are those of the tokenizer's own `apply_chat_template`, unless a content holds what would become a special
        token there. A rendered text stays as it is: with its date, its system message, the answer that it begins.

        Raises:
            BadRequest: see `render`.
        """
        if isinstance(asked, Reading):
            text, contents = asked.text, asked.contents
        else:
            text, contents = self.render(asked), tuple(message.content for message in asked.messages)
        tail = "" if answer is None else self._gap_before_answer(asked) + answer
        if any(self._forbidden.intersection(self._encode(content)) for content in (*contents, tail)):
            return self._ids_as_text(asked, tail)
        return self._encode(text + tail)

    def answer_ids(self, asked: Conversation | Reading, answer: str, prompt_ids: Sequence[int]) -> list[int]:
        """Token ids that the model must generate after a conversation's to say `answer` and end its turn."""
        whole = self.ids(asked, answer)
        # A tokenizer may join the prompt's end with the answer's beginning.
        joined = whole[: len(prompt_ids)] != list(prompt_ids)
        tail = self._as_text(self._gap_before_answer(asked) + answer) if joined else whole[len(prompt_ids) :]
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

    def read(self, text: str) -> Reading | None:
        """What a text was rendered from, generation prompt included; None: plain text.

        All that looks like a turn is one, and a system message that the template puts there by default is its own.
        """
        return self._rendered.read(text)

    def recognise(self, text: str) -> Conversation | None:
        """The conversation whose rendering a text is; see `read`."""
        found = self.read(text)
        return None if found is None else found.conversation

    def _skeleton(self, roles: Sequence[Role], *, open_turn: bool = True) -> Skeleton:
        return skeleton_of(self._apply(stand_ins(roles), open_turn=open_turn), roles)

    def _apply(
        self, messages: Sequence[Message], open_turn: bool = True, options: Mapping[str, Any] | None = None
    ) -> str:
        given = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(
                given, tokenize=False, add_generation_prompt=open_turn, **(options or {})
            )
        except Exception as error:  # a template is a program of somebody else's: it raises anything
            roles = ", ".join(message.role for message in messages)
            raise BadRequest(
                f"the base's chat template refuses messages of these roles: {roles} ({str(error)[:200]}). Let user and "
                "assistant take turns, beginning and ending with the user; if it is the system message that is refused, "
                "write it into the first user message"
            ) from error
        return text

    def _ids_as_text(self, asked: Conversation | Reading, tail: str) -> list[int]:
        """The markup's special tokens parsed, all else read as text, contents with what looks like such tokens included."""
        markups, contents = self._parts(asked)
        ids: list[int] = []
        pending = ""
        for markup, content in zip(markups, (*contents, tail), strict=True):
            for part in self._special_strings.split(markup):
                if self._special_strings.fullmatch(part):
                    ids += [*self._as_text(pending), *self._encode(part)]
                    pending = ""
                else:
                    pending += part
            pending += content
        return [*ids, *self._as_text(pending)]

    def _parts(self, asked: Conversation | Reading) -> tuple[Sequence[str], Sequence[str]]:
        """Markup and contents in the order of the text."""
        if isinstance(asked, Reading):
            return asked.markup, asked.contents
        skeleton = self._skeleton(_roles(asked))
        contents = [message.content for message in asked.messages]
        if self._trims:
            contents = [content.strip() for content in contents]
        return skeleton.markup, [contents[gap] for gap in skeleton.gaps]

    def _gap_before_answer(self, asked: Conversation | Reading) -> str:
        if isinstance(asked, Reading) and asked.begun:
            return "" if asked.begun[-1].isspace() else " "
        return self._answer_gap

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

    def _end_of_turn(self, closing: str) -> int:
        """The first added token of what closes an answer; the end of the sequence, where there are only blanks."""
        found = next((token for token in self._encode(closing) if token in self._added), None)
        if found is None and closing.strip():
            raise BaseUnreadable(
                self._unusable(
                    f"it closes an answer with {closing.strip()[:60]!r}, which is no added token of the tokenizer, and no "
                    "answer would end there; add it to the tokenizer, if the model was trained with it"
                )
            )
        return int(self._tokenizer.eos_token_id) if found is None else found

    def _unusable(self, reason: str) -> str:
        """What is wrong with the template, and what to do."""
        place = str(getattr(self._tokenizer, "name_or_path", "") or "")
        of_base = f" of {place!r}" if place else ""
        return (
            f"the chat template of the tokenizer{of_base} cannot be used: {reason.rstrip('.')}. Correct it "
            '(chat_template.jinja or tokenizer_config.json in the base\'s folder), or set model.chat = "off" to ask the '
            "base in plain text alone"
        )

    def _why_refused(self) -> str | None:
        """Why it does not render a question, where that is a known reason."""
        templates = getattr(self._tokenizer, "chat_template", None)
        part = [{"type": "text", "text": "UPKEEP-PART"}]
        if isinstance(templates, Mapping) and "default" not in templates:
            named = ", ".join(map(repr, templates))
            return f'it is several, named {named}, and none is named "default"; name the one to use so'
        if "UPKEEP-PART" in self._try_parts(part):
            return "it takes contents only as lists of parts; let it take texts (`content is string`), too"
        return None

    def _try_parts(self, content: Sequence[Mapping[str, str]]) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
                )
            )
        except Exception:  # see `_apply`
            return ""

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
    def _rendered(self) -> RenderedTexts:
        added = [token.content for token in self._added.values()]
        return RenderedTexts(
            self._apply, source=self._source, bos=self._tokenizer.bos_token or "", added=added
        )

    @property
    def _source(self) -> str:
        found = getattr(self._tokenizer, "chat_template", None)
        found = found.get("default") if isinstance(found, Mapping) else found
        return found if isinstance(found, str) else ""

    @cached_property
    def _trims(self) -> bool:
        """Whether the template strips what a user says."""
        return " word " not in self._apply([Message("user", " word ")])


def usable_template(tokenizer: Any, chat: ChatMode) -> ChatTemplate | None:
    """The template that a base is asked through; None: in plain text alone, as without a template.

    Raises:
        BadRequest: chat is on for a tokenizer without a chat template.
        BaseUnreadable: chat is on, and the template cannot be used; where it is "auto", a warning says so.
    """
    if chat not in ("auto", "on", "off"):
        raise BadRequest(f"model.chat = {chat!r}: use auto, on or off")
    has = bool(getattr(tokenizer, "chat_template", None))
    if chat == "on" and not has:
        raise BadRequest(
            "model.chat = \"on\", but the base's tokenizer has no chat template: add one to the base's folder "
            '(chat_template.jinja), or set model.chat = "auto"'
        )
    if chat == "off" or not has:
        return None
    try:
        return ChatTemplate(tokenizer)
    except BaseUnreadable as error:
        if chat == "on":
            raise
        _log.warning("%s; until then it is asked in plain text alone, and messages are refused", error)
        return None


def _roles(conversation: Conversation) -> tuple[Role, ...]:
    return tuple(message.role for message in conversation.messages)


def _gap(asked: Skeleton, answered: Skeleton) -> str:
    """The blanks that a template writes between the prompt to answer and the answer."""
    opening, before = asked.markup[-1], answered.markup[1]
    gap = before.removeprefix(opening)
    return gap if before.startswith(opening) and gap.isspace() else ""
