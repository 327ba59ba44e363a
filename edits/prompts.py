"""What a model is asked: a plain text that it continues, or a conversation through its chat template. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order; the model answers as the assistant."""

    messages: tuple[Message, ...]

    @property
    def user_turns(self) -> tuple[str, ...]:
        """What the user said, in order."""
        return tuple(message.content for message in self.messages if message.role == "user")


Prompt: TypeAlias = str | Conversation


def asked_in_chat(text: str) -> Conversation:
    """One user turn that says just this."""
    return Conversation((Message("user", text),))


def prompt_list(prompts: Prompt | Sequence[Prompt]) -> Sequence[Prompt]:
    """Several prompts; a single one, which may be a text, is a list of itself, not of its letters."""
    return [prompts] if isinstance(prompts, str | Conversation) else prompts


def user_turns(prompt: Prompt) -> tuple[str, ...]:
    """The texts in which a prompt asks: a plain one is its own only turn."""
    return (prompt,) if isinstance(prompt, str) else prompt.user_turns
