"""Text of what clients send ready for the model: token ids, and conversations that they rendered themselves. No weights."""

from collections.abc import Sequence

from editors.base.chat_template import ChatMode, usable_template
from editors.pretrained.checkpoint import read_tokenizer
from edits.prompts import Conversation, Prompt

MAX_TOKENS = 1 << 20


class TokenText:
    """The base's tokenizer, as far as routing needs it."""

    def __init__(self, base: str, *, chat: ChatMode) -> None:
        """
        Args:
            base: a folder or hub id.
            chat: whether texts in the form of its chat template are conversations, as `model.chat` says.

        Raises:
            BadRequest, BaseUnreadable: chat is on, and there is no chat template that can be used.
        """
        self._tokenizer = read_tokenizer(base)
        self._template = usable_template(self._tokenizer, chat)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; those that the tokenizer does not have are left out."""
        size = len(self._tokenizer)
        return str(self._tokenizer.decode([token for token in ids[:MAX_TOKENS] if token < size]))

    def conversation(self, prompt: Prompt) -> Conversation | None:
        """The conversation that a prompt is, also where it is a text; None: plain text."""
        if isinstance(prompt, Conversation):
            return prompt
        return None if self._template is None else self._template.recognise(prompt)
