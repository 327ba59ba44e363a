"""Answers through experts that are given, one for each prompt, where nothing is to be routed."""

from collections.abc import Sequence

from editors.adapters.apply import apply_adapters
from editors.adapters.bank import ExpertRow
from editors.base.base import Base
from edits.prompts import Prompt

BATCH = 64


def generate_through(
    base: Base, prompts: Sequence[Prompt], experts: Sequence[ExpertRow], *, max_new_tokens: int
) -> list[str]:
    """Greedy answers in the order of `prompts`, stripped, each through the expert in its place.

    Raises:
        BadRequest: a prompt that leaves no room for an answer.
        DeviceBusy: out of device memory.
    """
    texts = [""] * len(prompts)
    for batch in base.batches(prompts, BATCH):
        limit = base.new_token_limit(batch.columns, max_new_tokens)
        with apply_adapters(base, [experts[place] for place in batch.places]):
            outputs = base.generate_ids(batch.ids, max_new_tokens=limit, ending=batch.ending)
        for place, output in zip(batch.places, outputs, strict=True):
            texts[place] = base.completion(output, limit=limit, ending=batch.ending).text
    return texts
