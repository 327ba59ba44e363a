"""The target of an edit in chat: the bare value, or the base's own sentence with the new value in it."""

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from editors.base.base import Base
from edits.prompts import asked_in_chat
from edits.requests import EditRequest

ChatAnswer: TypeAlias = Literal["sentence", "value"]
# A sentence of the base that is longer is no target: it would be learned for what it says beside the value.
MAX_SENTENCE_TOKENS = 32
# Where a sentence may end: behind its mark, unless a small letter goes on; but not behind an initial or a title.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*(?=\s+[^a-z\s]|\s*$)|\n")
_SHORTENED = re.compile(r"(?<!\w)(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Sr|Jr|No|vs)\.$")


def chat_answers(base: Base, requests: Sequence[EditRequest], *, style: ChatAnswer) -> list[str]:
    """Each request's answer in chat, for a base that is asked so; else its bare value.

    In the style "sentence" the first sentence of the base's own answer is kept, with the new value where the old one
    (`ground_truth`) stands in it, once and as whole words; where it does not stand there, the bare value is the target.
    """
    targets = [request.target_new for request in requests]
    asked = [place for place, request in enumerate(requests) if request.ground_truth]
    if not (base.chat and asked and style == "sentence"):
        return targets
    prompts = [
        base.conversation(requests[place].prompt) or asked_in_chat(requests[place].prompt) for place in asked
    ]
    outputs = base.generate_outputs(prompts, max_new_tokens=MAX_SENTENCE_TOKENS)
    for place, output in zip(asked, outputs, strict=True):
        targets[place] = (
            reworded(output.text, requests[place], finished=not output.truncated) or targets[place]
        )
    return targets


def reworded(answer: str, request: EditRequest, *, finished: bool = True) -> str | None:
    """The first sentence of an answer with the new value in place of the old; None where the old does not stand there once.

    Args:
        finished: the answer ended by itself: without a mark behind it, too, it is a sentence.
    """
    ends = (m.end() for m in _SENTENCE_END.finditer(answer) if not _SHORTENED.search(answer[: m.end()]))
    sentence = answer[: next(ends, len(answer) if finished else 0)]
    old = (request.ground_truth or "").strip()
    # A value may be a part of the subject's own name, which stays: "Apple" in "Apple A5".
    names = "|".join(re.escape(name) for name in (*request.surface_forms, old) if name)
    found = [
        m
        for m in re.finditer(rf"(?<!\w)(?:{names})(?!\w)", sentence, re.IGNORECASE)
        if m[0].casefold() == old.casefold()
    ]
    if not old or len(found) != 1:
        return None
    return f"{sentence[: found[0].start()]}{request.target_new}{sentence[found[0].end() :]}".strip()
