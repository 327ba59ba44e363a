"""What a request to an OpenAI API asks, read leniently: what is not understood here, the engine judges."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edits.prompts import Conversation, Message, Prompt

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MAX_MESSAGES = 1_024  # that are read, the latest


@dataclass(frozen=True, slots=True)
class RequestFields:
    """The fields of a request that routing depends on.

    Attributes:
        prompts: by place in the request; None: nothing that can be read.
        listed: the prompts stood in a list, so that each has choices of its own.
    """

    fields: Mapping[str, Any]
    model: str | None
    prompts: tuple[Prompt | None, ...]
    listed: bool
    stream: bool

    def body(self, *, model: str, places: Sequence[int] | None = None) -> bytes:
        """The request's body for another model, with the prompts of these places alone (None: all)."""
        changed: dict[str, Any] = {**self.fields, "model": model}
        if places is not None:
            prompts = self.fields["prompt"]
            changed["prompt"] = [prompts[place] for place in places]
        return json.dumps(changed, ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_request(path: str, body: bytes, *, decode: Callable[[Sequence[int]], str]) -> RequestFields | None:
    """What a request to `path` asks; None: nothing that could be routed.

    Args:
        decode: token ids to text, as the base's tokenizer does.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    model = fields.get("model")
    if path == CHAT:
        prompts: tuple[Prompt | None, ...] = (_conversation(fields.get("messages")),)
        listed = False
    else:
        prompts, listed = _prompts(fields.get("prompt"), decode)
    named = model if isinstance(model, str) and model else None
    return RequestFields(fields, named, prompts, listed, bool(fields.get("stream")))


def _conversation(messages: Any) -> Conversation | None:
    if not isinstance(messages, list):
        return None
    turns = [
        Message(message["role"], _content(message.get("content")))
        for message in messages[-MAX_MESSAGES:]
        if isinstance(message, dict) and message.get("role") in ("user", "assistant")
    ]
    return Conversation(tuple(turns)) if any(turn.role == "user" for turn in turns) else None


def _content(content: Any) -> str:
    """A message's text: a string, or the texts of its parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _prompts(prompt: Any, decode: Callable[[Sequence[int]], str]) -> tuple[tuple[Prompt | None, ...], bool]:
    if isinstance(prompt, str):
        return (prompt,), False
    if not isinstance(prompt, list) or not prompt:
        return (None,), False
    if _is_ids(prompt):
        return (decode(prompt),), False
    return tuple(
        one if isinstance(one, str) else decode(one) if _is_ids(one) else None for one in prompt
    ), True


def _is_ids(prompt: Any) -> bool:
    return (
        isinstance(prompt, list)
        and bool(prompt)
        and all(type(token) is int and token >= 0 for token in prompt)
    )
