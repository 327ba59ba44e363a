"""Scores of an edited model by free greedy generation against the frozen base (see docs/glossary in README.md)."""

from collections.abc import Sequence

from editors.model import Answer


def score_answers(answers: Sequence[Answer], expected: Sequence[str]) -> float | None:
    """Share of answers that equal what was expected, strictly, after stripping; None without any.

    Serves reliability, generality and portability (expected: the targets) and locality (expected: the base's answers).
    """
    if len(answers) != len(expected):
        raise ValueError(f"{len(answers)} answers for {len(expected)} expected texts")
    if not answers:
        return None
    return sum(a.text == e.strip() for a, e in zip(answers, expected, strict=True)) / len(answers)


def fire_rate(answers: Sequence[Answer]) -> float | None:
    """Share of prompts that went through any expert; None without any prompt."""
    return sum(a.edit_id is not None for a in answers) / len(answers) if answers else None
