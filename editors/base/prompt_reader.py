"""How a base reads what it is asked: plain text or messages to token ids, and what ends the answer. Imports no torch."""

from collections.abc import Iterable, Sequence
from typing import Any

from editors.base.chat_template import ChatMode, usable_template
from editors.base.endings import Ending, chat_ending, plain_ending
from editors.base.rendered_text import Reading
from edits.errors import BadRequest, BaseUnreadable
from edits.prompts import Conversation, Prompt

# Tokens of the context that are kept for an answer: a prompt may have all the others.
RESERVED_ANSWER_TOKENS = 64


class PromptReader:
    """A tokenizer with its chat template, if it has one that is to be used, and a context of so many tokens."""

    def __init__(self, tokenizer: Any, *, context: int, chat: ChatMode = "auto") -> None:
        """
        Raises:
            BadRequest: chat is on for a tokenizer without a chat template.
            BaseUnreadable: the tokenizer has no end of a sequence, or chat is on and the chat template cannot be used.
        """
        if tokenizer.eos_token_id is None:
            raise BaseUnreadable(
                "the base's tokenizer has no end-of-sequence token: set eos_token in its config"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer = tokenizer
        self.context = context
        self.eos_id = int(tokenizer.eos_token_id)
        self._template = usable_template(tokenizer, chat)
        self._set_endings((self.eos_id,))

    def _set_endings(self, eos_ids: Iterable[int]) -> None:
        ends = tuple(eos_ids)
        self.eos_ids = frozenset(ends)
        self.plain_ending = plain_ending(self.tokenizer, ends)
        self._chat_ending = (
            self.plain_ending if self._template is None else chat_ending(self._template.end_of_turn, ends)
        )

    @property
    def chat(self) -> bool:
        """Whether the base is asked through its chat template, too."""
        return self._template is not None

    @property
    def max_prompt_tokens(self) -> int:
        """The longest prompt that leaves room for an answer."""
        return self.context - min(RESERVED_ANSWER_TOKENS, self.context // 4)

    def fits(self, prompt: Prompt) -> bool:
        """Whether the base can read the prompt and still has room for an answer."""
        return len(self._ids(prompt)) <= self.max_prompt_tokens

    def can_answer(self, prompt: Prompt, answer: str) -> bool:
        """Whether the base can read the prompt and has room for this answer behind it."""
        try:
            self.answer_ids(prompt, answer)
        except BadRequest:
            return False
        return True

    def conversation(self, prompt: Prompt) -> Conversation | None:
        """The conversation that a prompt is, also where it is a text that a client rendered; None: plain text.

        Raises:
            BadRequest: messages, for a base that is not asked through a chat template.
        """
        asked = self._read(prompt)
        return asked.conversation if isinstance(asked, Reading) else asked

    def _read(self, prompt: Prompt) -> Conversation | Reading | None:
        """Messages, a text that a client rendered, or None: plain text."""
        if self._template is None:
            if isinstance(prompt, Conversation):
                raise BadRequest(
                    "this base takes no messages: its tokenizer has no chat template, or none that can be used "
                    "(the log says why), or model.chat is off; send plain text, or take an instruction-tuned base"
                )
            return None
        return prompt if isinstance(prompt, Conversation) else self._template.read(prompt)

    def ending(self, prompt: Prompt) -> Ending:
        """What stops an answer to this prompt."""
        return self.plain_ending if self.conversation(prompt) is None else self._chat_ending

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt as the model reads it, special tokens included.

        Raises:
            BadRequest: the prompt leaves no room for an answer, is no text, or the chat template refuses it.
        """
        ids = self._ids(prompt)
        if len(ids) > self.max_prompt_tokens:
            raise BadRequest(
                f"the prompt has {len(ids)} tokens, the base reads at most {self.max_prompt_tokens}: shorten it"
            )
        return ids

    def turn_ids(self, conversation: Conversation) -> list[int]:
        """A conversation's token ids without what the template puts in front of every one: what is asked, and how.

        Raises:
            BadRequest: see `prompt_ids`.
        """
        ids = self.prompt_ids(conversation)
        return ids if self._template is None else self._template.without_preamble(ids)

    def answer_ids(
        self, prompt: Prompt, answer: str, *, prompt_ids: Sequence[int] | None = None
    ) -> list[int]:
        """Token ids that the model must generate after `prompt` to say `answer` and stop.

        Raises:
            BadRequest: prompt and answer together are longer than the context, or the chat template refuses the prompt.
        """
        prefix = list(prompt_ids) if prompt_ids is not None else self.prompt_ids(prompt)
        asked = self._read(prompt)
        if asked is not None and self._template is not None:
            ids = self._template.answer_ids(asked, answer, prefix)
        else:
            ids = self._plain_answer_ids(str(prompt), answer, prefix)
        if len(prefix) + len(ids) > self.context:
            raise BadRequest(
                f"prompt and answer have {len(prefix) + len(ids) - 1} tokens, too many for the base"
            )
        return ids

    def _plain_answer_ids(self, prompt: str, answer: str, prefix: list[int]) -> list[int]:
        gap = "" if not prompt or prompt[-1].isspace() else " "
        whole = self._encode(prompt + gap + answer)
        # A tokenizer may join the prompt's end with the answer's beginning.
        joined = whole[: len(prefix)] != prefix
        tail = self._encode(gap + answer, special=False) if joined else whole[len(prefix) :]
        return [*tail, self.eos_id]

    def _ids(self, prompt: Prompt) -> list[int]:
        _require_characters(prompt)
        asked = self._read(prompt)
        if asked is not None and self._template is not None:
            return self._template.ids(asked)
        return self._encode(str(prompt))

    def _encode(self, text: str, *, special: bool = True) -> list[int]:
        # Text that looks like a special token is text: nobody ends a prompt from inside it.
        ids: list[int] = self.tokenizer(text, add_special_tokens=special, split_special_tokens=True)[
            "input_ids"
        ]
        while ids and ids[-1] == self.eos_id:  # some tokenizers close every text by themselves
            ids = ids[:-1]
        return ids


def _require_characters(prompt: Prompt) -> None:
    """Refuse half a surrogate pair, which JSON can carry and no tokenizer reads.

    Raises:
        BadRequest: there is one.
    """
    texts = [prompt] if isinstance(prompt, str) else [message.content for message in prompt.messages]
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadRequest(
                f"the prompt holds half a surrogate pair at character {error.start}, which is no text"
            ) from None
