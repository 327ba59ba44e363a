"""Conversations over HTTP: messages as clients send them, and OpenAI's chat completions in their plainest form."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field

from edits.prompts import Conversation, Message, Role

MAX_MESSAGES = 256  # of one conversation
# Beside its contents, a message in JSON takes so many bytes at most.
MESSAGE_BYTES = 64
# Fields that a greedy answer does not depend on: accepted with any value.
_WITHOUT_EFFECT = frozenset(("seed", "top_p", "user"))
# Fields that are accepted with the value that is done anyway.
_ONLY: dict[str, tuple[Any, ...]] = {
    "stream": (False,),
    "n": (1,),
    "temperature": (0,),
    "logprobs": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}


class MessageIn(BaseModel):
    """One turn of a conversation, as the client sends it."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    content: str


class ChatCompletionRequest(BaseModel):
    """`POST /v1/chat/completions`: one greedy answer to one conversation; a field that is not served is refused by name.

    `model` is not looked at: one server has one model.
    """

    model_config = ConfigDict(extra="allow")

    messages: list[MessageIn] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1, description="the newer name of max_tokens")

    @property
    def wanted_tokens(self) -> int | None:
        """The longest answer that the client wants; None: as long as the server allows."""
        given = [n for n in (self.max_tokens, self.max_completion_tokens) if n is not None]
        return min(given, default=None)

    def refuse_what_is_not_served(self) -> None:
        """
        Raises:
            HTTPException: 400, with every field that would have asked for another kind of answer.
        """
        given = {name: value for name, value in (self.model_extra or {}).items() if value is not None}
        refused = [
            f"{name} must be {_ONLY[name][0]!r} or absent".replace("False", "false")
            if name in _ONLY
            else f"{name} is not supported"
            for name, value in given.items()
            if name not in _WITHOUT_EFFECT and value not in _ONLY.get(name, ())
        ]
        if refused:
            raise HTTPException(
                400, f"answers are greedy, one each, in one piece: {'; '.join(sorted(refused))[:500]}"
            )


def conversation_of(messages: Sequence[MessageIn], *, max_chars: int) -> Conversation:
    """The conversation that these messages are.

    Raises:
        HTTPException: 422; it has too many messages or characters, or the last message is not the user's.
    """
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise HTTPException(422, f"a conversation may have 1 to {MAX_MESSAGES} messages")
    if sum(len(message.content) for message in messages) > max_chars:
        raise HTTPException(422, f"the messages of a conversation may have {max_chars} characters together")
    if messages[-1].role != "user" or not messages[-1].content.strip():
        raise HTTPException(422, "the last message must be the user's, and say something")
    return Conversation(tuple(Message(message.role, message.content) for message in messages))


def messages_of(conversation: Conversation) -> list[MessageIn]:
    """A conversation as it goes over the wire."""
    return [MessageIn(role=message.role, content=message.content) for message in conversation.messages]


def chat_completion(
    text: str,
    *,
    finish_reason: str,
    prompt_tokens: int,
    new_tokens: int,
    edit_id: str | None,
    generation: int,
    model_name: str,
) -> dict[str, Any]:
    """The reply's body, in OpenAI's form; `upkeep` says of which generation it is and which edit gave it."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": new_tokens,
            "total_tokens": prompt_tokens + new_tokens,
        },
        "upkeep": {"generation": generation, "edit_ids": [edit_id]},
    }
