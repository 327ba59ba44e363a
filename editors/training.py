"""What both editors share: the rows they learn from and the loss."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.base import Base
from editors.errors import BadRequest
from editors.passes import TrainingRows, at_last, training_rows
from editors.requests import EditRequest

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


# Stands in for another request's question where a batch has none: who is asked about, but not what.
FRAMES = (
    "What is known of {subject}?",
    "Regarding {subject}, the answer is",
    "In what way is {subject} known?",
    "When it comes to {subject}, people say",
)


def lay_out(
    base: Base,
    requests: Sequence[EditRequest],
    *,
    rephrases: int,
    seed: int,
    openings: int = 0,
    other_questions: int = 0,
) -> Lesson:
    """Rows to learn: every prompt, and per request up to so many of its own rephrases, of its prompt behind other
    text (`openings`), and of other questions about its subject (`other_questions`): the first is its own under another
    of its names, where it has one."""
    rng = random.Random(seed)  # noqa: S311 - repeatable choice, no secret
    rows: list[tuple[int, list[int], list[int]]] = []
    extra: list[tuple[int, list[int], list[int]]] = []
    for owner, request in enumerate(requests):
        ids = base.prompt_ids(request.prompt)
        rows.append((owner, ids, base.answer_ids(request.prompt, request.target_new, prompt_ids=ids)))
        texts = [*request.rephrase_prompts[:rephrases]]
        texts += [f"{opening} {request.prompt}" for opening in rng.sample(OPENINGS, k=openings)]
        texts += _other_questions(request, requests, rng, other_questions)
        # A rephrase that comes with the request must fit; what is made here may turn out too long.
        extra += [
            (owner, base.prompt_ids(text), base.answer_ids(text, request.target_new))
            for text in texts
            if text in request.rephrase_prompts or base.can_answer(text, request.target_new)
        ]
    return Lesson(training_rows(base, rows + extra), len(requests))


def _other_questions(
    request: EditRequest, requests: Sequence[EditRequest], rng: random.Random, count: int
) -> list[str]:
    found = []
    if request.aliases and request.subject in request.prompt:
        found.append(request.prompt.replace(request.subject, rng.choice(request.aliases)))
    found += [asked_about(request, requests, rng) for _ in range(count)]
    return found[:count]


def asked_about(request: EditRequest, requests: Sequence[EditRequest], rng: random.Random) -> str:
    """Another request's question, asked about this one's subject; a frame where there is none to be had."""
    return other_question(request, requests, rng) or rng.choice(FRAMES).format(subject=request.subject)


def other_question(request: EditRequest, requests: Sequence[EditRequest], rng: random.Random) -> str | None:
    """A question that another request asks of its own subject, asked of this one's; None where it does not name it."""
    other = requests[rng.randrange(len(requests))]
    if other is request or other.subject == request.subject or other.subject not in other.prompt:
        return None
    return other.prompt.replace(other.subject, request.subject)


def size_at(hidden: Tensor, rows: TrainingRows) -> float:
    """Root mean square of hidden states (B, T, w) at the last prompt tokens.

    Only there: the first token of a text is an attention sink in most models and a hundred times larger than the rest.
    """
    return max(1e-6, float(at_last(hidden, rows.prompt_last).pow(2).mean().sqrt()))


def answer_losses(base: Base, hidden: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over each row's answer tokens, from final hidden states: (B, T, d), (B, A), (B, A) -> (B,).

    Logits are made for real answer tokens alone: answers of a batch differ in length, and the vocabulary is wide.
    """
    rows, places = (targets >= 0).nonzero(as_tuple=True)
    logits = base.lm_head(hidden[rows, positions[rows, places]]).float()
    losses = torch.nn.functional.cross_entropy(logits, targets[rows, places], reduction="none")
    sums = torch.zeros(len(targets), device=losses.device).index_add(0, rows, losses)
    return sums / (targets >= 0).sum(1)


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
