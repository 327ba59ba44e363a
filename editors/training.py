"""What both editors share: the rows they learn from, the loss, and what the scope index keeps of each edit."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.base import Base
from editors.errors import BadRequest
from editors.passes import TrainingRows, at_last, training_rows
from editors.requests import EditRequest
from editors.scope import DEFAULT_THRESHOLD, ScopeKey, calibrate, make_keys, read_pairs
from editors.shards import ShardEntry
from editors.surface import SurfaceIndex

# Told as (stage, done, total) while an editor works.
Progress = Callable[[str, int, int], None]

# Unrelated openings put before a training prompt, so that an expert answers behind other text too.
OPENINGS = (
    "The weather stayed dry for most of the week.",
    "Here is another note from the same page.",
    "Two of the letters were lost in the post.",
    "It was a long meeting, and nothing was decided.",
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """A batch of edits laid out for training: each edit's prompt first, then its further phrasings."""

    rows: TrainingRows
    edits: int


def lay_out(
    base: Base, requests: Sequence[EditRequest], *, openings: int, rephrases: int, seed: int
) -> Lesson:
    """Rows to learn: every prompt, up to `rephrases` of the request's own rephrases, `openings` behind other text."""
    rows: list[tuple[int, list[int], list[int]]] = []
    rng = random.Random(seed)  # noqa: S311 - repeatable choice, no secret
    extra: list[tuple[int, list[int], list[int]]] = []
    for owner, request in enumerate(requests):
        ids = base.prompt_ids(request.prompt)
        rows.append((owner, ids, base.answer_ids(request.prompt, request.target_new, prompt_ids=ids)))
        texts = [*request.rephrase_prompts[:rephrases]]
        texts += [f"{opening} {request.prompt}" for opening in rng.sample(OPENINGS, k=openings)]
        extra += [(owner, base.prompt_ids(text), base.answer_ids(text, request.target_new)) for text in texts]
    return Lesson(training_rows(base, rows + extra), len(requests))


def size_at(hidden: Tensor, rows: TrainingRows) -> float:
    """Root mean square of hidden states (B, T, w) at the last prompt tokens.

    Only there: the first token of a text is an attention sink in most models and a hundred times larger than the rest.
    """
    return max(1e-6, float(at_last(hidden, rows.prompt_last).pow(2).mean().sqrt()))


def row_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over each row's answer tokens: logits (B, A, V), targets (B, A) -> (B,)."""
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=-100
    )
    return losses.view(targets.shape).sum(1) / (targets >= 0).sum(1)


def check_requests(requests: Sequence[EditRequest]) -> None:
    """Refuse what no editor can learn.

    Raises:
        BadRequest: no request, an edit id twice, an empty prompt or target.
    """
    if not requests:
        raise BadRequest("an editor needs at least one edit request")
    if len({request.edit_id for request in requests}) != len(requests):
        raise BadRequest("two edit requests of one batch have the same edit_id")
    for request in requests:
        if not request.prompt.strip() or not request.target_new.strip():
            raise BadRequest(f"edit {request.edit_id} has an empty prompt or target_new")


def scope_entries(
    base: Base, requests: Sequence[EditRequest], *, max_answer_tokens: int
) -> tuple[tuple[ShardEntry, ...], Tensor]:
    """What the scope index keeps of each edit: entries, and their hidden states (n, d)."""
    keys = make_keys(base, [request.prompt for request in requests], max_answer_tokens=max_answer_tokens)
    thresholds = _thresholds(base, requests, keys)
    entries = tuple(
        ShardEntry(
            edit_id=request.edit_id,
            surface_forms=request.surface_forms,
            base_answer_ids=key.base_answer_ids,
            confidence=key.confidence,
            threshold=threshold,
        )
        for request, key, threshold in zip(requests, keys, thresholds, strict=True)
    )
    return entries, torch.stack([key.key for key in keys])


def _thresholds(base: Base, requests: Sequence[EditRequest], keys: Sequence[ScopeKey]) -> list[float]:
    pairs: list[tuple[str, ScopeKey]] = []
    owners: list[tuple[int, bool]] = []  # (edit, must fire)
    for index, request in enumerate(requests):
        own = SurfaceIndex()
        own.add(request.edit_id, request.surface_forms)
        for prompts, fires in ((request.rephrase_prompts, True), (request.locality_prompts, False)):
            # A prompt that does not name the subject never reaches the threshold.
            named = [prompt for prompt in prompts if own.find(prompt)]
            pairs += [(prompt, keys[index]) for prompt in named]
            owners += [(index, fires)] * len(named)
    if not pairs:
        return [DEFAULT_THRESHOLD] * len(requests)
    scores: list[tuple[list[float], list[float]]] = [([], []) for _ in requests]
    for (index, fires), reading in zip(owners, read_pairs(base, pairs), strict=True):
        scores[index][0 if fires else 1].append(reading.score(keys[index].confidence))
    return [calibrate(fire, stay) for fire, stay in scores]
