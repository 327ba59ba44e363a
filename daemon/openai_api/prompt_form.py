"""A prompt as the bodies of requests have it."""

from typing import Any

from edits.prompts import Conversation, Prompt


def prompt_form(prompt: Prompt) -> dict[str, Any]:
    """`prompt`, or `messages`."""
    if isinstance(prompt, Conversation):
        return {"messages": [{"role": one.role, "content": one.content} for one in prompt.messages]}
    return {"prompt": prompt}


def path_for(prompt: Prompt) -> str:
    """Where it is asked."""
    return "/v1/chat/completions" if isinstance(prompt, Conversation) else "/v1/completions"
