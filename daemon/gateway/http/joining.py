"""One completion of several: prompts that need different adapters are asked apart and answered together."""

from collections.abc import Mapping, Sequence
from typing import Any

from edits.errors import PermanentError


class EngineReplyUnreadable(PermanentError):
    """The engine's answer does not have a choice for each prompt."""


def join_completions(
    replies: Sequence[tuple[Sequence[int], Mapping[str, Any]]], *, model: str
) -> dict[str, Any]:
    """The replies' choices in the order of the whole request's prompts; usage is their sum.

    Args:
        replies: the places of a part's prompts in the whole, and the engine's reply to the part.

    Raises:
        EngineReplyUnreadable: a reply's choices do not go round evenly.
    """
    choices: list[dict[str, Any]] = []
    for places, reply in replies:
        found = reply.get("choices")
        if not isinstance(found, list) or not found or len(found) % len(places):
            raise EngineReplyUnreadable("the engine's answer does not have a choice for each prompt")
        each = len(found) // len(places)
        for choice in found:
            place, number = divmod(int(choice["index"]), each)
            choices.append({**choice, "index": places[place] * each + number})
    first = replies[0][1]
    joined = {**first, "model": model, "choices": sorted(choices, key=lambda choice: choice["index"])}
    usages = [reply["usage"] for _, reply in replies if isinstance(reply.get("usage"), dict)]
    if usages:
        joined["usage"] = {
            name: sum(int(usage.get(name) or 0) for usage in usages)
            for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        }
    return joined
