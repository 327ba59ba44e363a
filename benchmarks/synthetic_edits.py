"""Edits beyond what a facts file holds, for the benchmarks of cost: invented subjects, experts of a real shard's shapes."""

import json
from collections.abc import Iterator
from pathlib import Path

from editors.store.derived_index import TEXT_VECTORS
from editors.store.shards import Shard, prompt_sha256
from edits.requests import EditRequest

_SYLLABLES = ("ba", "do", "fe", "gu", "ki", "lo", "mi", "nu", "ra", "se", "ti", "vo", "wa", "xe", "yo", "za")


def read_requests(facts: Path, limit: int | None = None) -> list[EditRequest]:
    """The facts of a file as requests, one per subject and prompt: no two of them are in conflict."""
    requests: dict[str, EditRequest] = {}
    with facts.open(encoding="utf-8") as lines:
        for line in lines:
            fact = json.loads(line)
            request = EditRequest(
                str(len(requests)),
                fact["subject"],
                fact["prompt"],
                fact["target_new"],
                aliases=tuple(fact.get("aliases", ())),
                accepted=True,  # facts of published files are taken as they stand
            )
            requests.setdefault(fact["prompt"], request)
            if len(requests) == limit:
                break
    return list(requests.values())


def invented_name(number: int) -> str:
    """A subject that no text names by chance; another one for each number."""
    syllables = []
    for _ in range(5):
        number, digit = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[digit])
    return f"{''.join(syllables).capitalize()} Qux{number or ''}"


def renamed(requests: list[EditRequest], count: int) -> Iterator[EditRequest]:
    """`count` requests: those given, then the same facts again and again told of invented subjects."""
    for number in range(count):
        request = requests[number % len(requests)]
        if number < len(requests):
            yield request
            continue
        name = invented_name(number)
        prompt = (
            request.prompt.replace(request.subject, name)
            if request.subject in request.prompt
            else f"{name}: {request.prompt}"
        )
        yield EditRequest(str(number), name, prompt, request.target_new)


def shards_like(real: Shard, count: int, *, first: int, distinct: bool = True) -> Iterator[Shard]:
    """`count` edits of invented subjects in shards of `real`'s form and size.

    Args:
        first: the number of the first invented subject; ids are `synthetic-N`.
        distinct: weights of its own for each shard; else all share `real`'s, where only the index is measured.
    """
    size = len(real.header.entries)
    for start in range(first, first + count, size):
        entries = tuple(
            entry.model_copy(
                update={
                    "edit_id": f"synthetic-{start + row}",
                    "surface_forms": (invented_name(start + row),),
                    "prompt_sha256": prompt_sha256(f"What of {invented_name(start + row)}?"),
                }
            )
            for row, entry in enumerate(real.header.entries)
        )
        ids = {entry.edit_id: f"synthetic-{start + row}" for row, entry in enumerate(real.header.entries)}
        questions = tuple(
            question.model_copy(update={"edit_id": ids.get(question.edit_id or "")})
            for question in real.header.questions
        )
        tensors = real.tensors
        if distinct:
            tensors = {
                name: tensor if name == TEXT_VECTORS else tensor.roll(start % tensor.shape[-1], -1)
                for name, tensor in real.tensors.items()
            }
        yield Shard(real.header.model_copy(update={"entries": entries, "questions": questions}), tensors)
