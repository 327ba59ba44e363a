"""Text of what clients send ready for the model: token ids, and conversations that they rendered themselves. No weights."""

from collections.abc import Sequence

from editors.base.chat_template import ChatTemplate
from editors.pretrained.checkpoint import read_tokenizer
from edits.prompts import Conversation, Prompt

MAX_TOKENS = 1 << 20


class TokenText:
    """The base's tokenizer, as far as routing needs it."""

    def __init__(self, base: str, *, chat: bool) -> None:
        """
        Args:
            base: a folder or hub id.
            chat: whether texts in the form of its chat template are conversations.

        Raises:
            BaseUnreadable: its chat template does not work.
        """
        self._tokenizer = read_tokenizer(base)
        has_template = chat and bool(getattr(self._tokenizer, "chat_template", None))
        self._template = ChatTemplate(self._tokenizer) if has_template else None

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; those that the tokenizer does not have are left out."""
        size = len(self._tokenizer)
        return str(self._tokenizer.decode([token for token in ids[:MAX_TOKENS] if token < size]))

    def conversation(self, prompt: Prompt) -> Conversation | None:
        """The conversation that a prompt is, also where it is a text; None: plain text."""
        if isinstance(prompt, Conversation):
            return prompt
        return None if self._template is None else self._template.recognise(prompt)
