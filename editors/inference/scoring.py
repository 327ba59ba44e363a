"""Scores of an edited model against its own frozen base: free generation first, teacher-forced accuracy beside it."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editors.adapters.apply import apply_adapters
from editors.base.base import length_sorted_chunks
from editors.base.passes import TrainingRows, answer_logits, capture, training_rows
from editors.inference.edited_model import Answer, EditedModel
from editors.inference.likelihood import next_token_kls
from edits.judging import is_exact
from edits.prompts import Prompt


def score_answers(answers: Sequence[Answer], expected: Sequence[str]) -> float | None:
    """Share of answers that are what was expected and nothing else (`is_exact`); None without any.

    Serves reliability, generality and portability (expected: the targets) and locality (expected: the base's answers).
    """
    if len(answers) != len(expected):
        raise ValueError(f"{len(answers)} answers for {len(expected)} expected texts")
    if not answers:
        return None
    return sum(is_exact(a.text, e) for a, e in zip(answers, expected, strict=True)) / len(answers)


def fire_rate(answers: Sequence[Answer]) -> float | None:
    """Share of prompts that went through any expert; None without any prompt."""
    return sum(a.edit_id is not None for a in answers) / len(answers) if answers else None


def teacher_forced(model: EditedModel, prompts: Sequence[Prompt], targets: Sequence[str]) -> float | None:
    """Mean over prompts of the share of target tokens that are the argmax given the true ones before; None without any.

    What most papers print. It flatters: one wrong token out of four still counts three quarters.
    """
    if not prompts:
        return None
    shares: list[float] = []
    for rows, hidden in _passes(model, prompts, targets):
        guess = answer_logits(model.base, hidden, rows.positions)[:, :-1].argmax(-1)
        # The last target is the end of the sequence, which the papers do not count.
        wanted = _without_end(rows.targets)[:, :-1]
        real = wanted >= 0
        shares += (((guess == wanted) & real).sum(1) / real.sum(1).clamp(min=1)).tolist()
    return sum(shares) / len(shares)


def next_token_kl(model: EditedModel, prompts: Sequence[Prompt]) -> float | None:
    """Mean KL(base || edited) in nats of the next-token distribution; exactly 0 where no edit fires."""
    kls = next_token_kls(model, prompts)
    return sum(kls) / len(kls) if kls else None


def _passes(
    model: EditedModel, prompts: Sequence[Prompt], targets: Sequence[str]
) -> Iterator[tuple[TrainingRows, Tensor]]:
    """Teacher-forced final hidden states, each row through its own expert."""
    base = model.base
    routes = model.route(prompts)
    rows = []
    for prompt, target in zip(prompts, targets, strict=True):
        ids = base.prompt_ids(prompt)
        rows.append((0, ids, base.answer_ids(prompt, target, prompt_ids=ids)))
    for chunk in length_sorted_chunks([prompt + answer for _, prompt, answer in rows], 64):
        batch = training_rows(base, [rows[i] for i in chunk])
        experts = [model.expert(routes[i]) for i in chunk]
        with torch.no_grad(), apply_adapters(base, experts), capture(base.final_norm, "output") as seen:
            base.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        yield batch, seen[0]


def _without_end(targets: Tensor) -> Tensor:
    """Targets (B, A) with each row's last real token taken out."""
    lengths = (targets >= 0).sum(1)
    kept = targets.clone()
    kept[torch.arange(len(kept), device=kept.device), lengths - 1] = -100
    return kept
