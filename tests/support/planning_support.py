"""Edits that wait, and plans of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from planners import Pending, PlanDraft, PlannerSettings, TfidfEmbedder, plan

START = datetime(2026, 1, 1, tzinfo=UTC)


def pending(
    edit_id: int,
    subject: str = "Ada",
    *,
    relation: str = "employer",
    op: str = "assert",
    urgent: bool = False,
    minute: int = 0,
    offset: int = 0,
    prompt: str | None = None,
) -> Pending:
    text = prompt or f"The {relation} of {subject} is"
    return Pending(
        edit_id=str(edit_id),
        op=op,
        subject=subject,
        relation=relation,
        prompt=text,
        fact_key=f"{subject}|{relation}",
        prompt_key=text.casefold(),
        urgent=urgent,
        occurred_at=START + timedelta(minutes=minute),
        offset=offset,
        target_new="x",
    )


def make(edits: Sequence[Pending], *, rivals: Sequence[Pending] = (), **options: Any) -> PlanDraft:
    return plan(edits, rivals=rivals, settings=PlannerSettings(**options), embedder=TfidfEmbedder())


def world(count: int) -> list[Pending]:
    """Edits of four relations that nobody contests."""
    relations = ("capital city", "head of state", "chemical symbol", "favourite author")
    return [
        pending(number, f"Thing{number}", relation=relations[number % 4], minute=number, offset=number)
        for number in range(count)
    ]
