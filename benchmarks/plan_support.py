"""What the planner's benchmarks share: facts as edits, the base's vectors of them, and the scores of a final model."""

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daemon.evaluation.facts_file import EvaluationFact, edit_request, pending_edit
from daemon.events.fact_event import prompt_key
from daemon.planning.base_vectors import BaseVectors
from editors.base.base import Base, load_base
from editors.inference.edited_model import EditedModel
from editors.inference.scoring import score_answers
from edits.names.surface import SurfaceIndex
from edits.requests import EditRequest
from planners import ModelEmbedder, Pending

START = datetime(2026, 1, 1, tzinfo=UTC)
ANSWER_TOKENS = 16


def read_facts(path: Path, limit: int, seed: int) -> list[EvaluationFact]:
    """`limit` facts of a file, no two of one prompt, chosen and ordered by `seed`."""
    with path.open(encoding="utf-8") as lines:
        facts = {prompt_key(fact.prompt): fact for fact in map(EvaluationFact.model_validate_json, lines)}
    chosen = list(facts.values())
    return random.Random(seed).sample(chosen, min(limit, len(chosen)))


def pending(facts: Sequence[EvaluationFact]) -> list[Pending]:
    """The facts as pending edits 0..n-1 of the batch lane, in the order in which they arrived."""
    return [pending_edit(str(number), fact) for number, fact in enumerate(facts)]


def requests(facts: Sequence[EvaluationFact]) -> list[EditRequest]:
    """What an editor sees of the facts: nothing that they are scored on."""
    return [edit_request(str(number), fact) for number, fact in enumerate(facts)]


def base_embedder(model: str) -> ModelEmbedder:
    """The planner's default embedder, without the ledger's cache."""
    return ModelEmbedder("base", BaseVectors(load_base(model, device="cpu")).vectors)


def swapped_prompts(path: Path, count: int) -> list[tuple[str, str]]:
    """`count` different (subject, prompt): the file's own, and then its prompts about its other subjects."""
    with path.open(encoding="utf-8") as lines:
        facts = [json.loads(line) for line in lines]
    about = [(fact["subject"], fact["prompt"]) for fact in facts if fact["subject"] in fact["prompt"]]
    shifted = (
        (about[(i + shift) % len(about)][0], prompt.replace(subject, about[(i + shift) % len(about)][0]))
        for shift in range(len(about))
        for i, (subject, prompt) in enumerate(about)
    )
    unlike = {
        prompt_key(prompt): (subject, prompt) for subject, prompt in itertools.islice(shifted, 2 * count)
    }
    return list(unlike.values())[:count]


@dataclass(frozen=True)
class FinalScores:
    """Free generation by the final model; None where the facts bring no such prompts."""

    reliability: float | None
    generality: float | None
    locality: float | None  # prompts of the same relation about subjects that no edit names


class Judge:
    """Asks final models the same questions; the base is asked once."""

    def __init__(self, base: Base, facts: Sequence[EvaluationFact]) -> None:
        edited = SurfaceIndex()
        for number, fact in enumerate(facts):
            edited.add(str(number), (fact.subject, *fact.aliases))
        self._own = [(fact.prompt, fact.target_new) for fact in facts]
        self._other = [(prompt, fact.target_new) for fact in facts for prompt in fact.rephrase_prompts]
        near = (prompt for fact in facts for prompt in fact.locality_prompts.relation)
        probes = [prompt for prompt in dict.fromkeys(near) if not edited.find(prompt)]
        self._near = list(zip(probes, base.generate(probes, max_new_tokens=ANSWER_TOKENS), strict=True))

    def scores(self, model: EditedModel) -> FinalScores:
        return FinalScores(*(self._score(model, rows) for rows in (self._own, self._other, self._near)))

    def _score(self, model: EditedModel, rows: Sequence[tuple[str, str]]) -> float | None:
        answers = model.generate([prompt for prompt, _ in rows], max_new_tokens=ANSWER_TOKENS)
        return score_answers(answers, [wanted for _, wanted in rows])
