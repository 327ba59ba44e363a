"""The edits of an evaluation: they arrive batch by batch, each is planned as in production, and the newest wins."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.evaluation.evaluate_options import EvaluateOptions
from daemon.evaluation.facts_file import EvaluationFact, edit_request, pending_edit
from daemon.planning.base_vectors import BaseVectors
from editors.inference.edited_model import EditedModel
from editors.methods.common.editor import ProgressCallback
from editors.methods.registry import build_editor
from edits.ids import EditId
from edits.judging import as_prompt, judge_of
from edits.recency import arrival, by_arrival, may_be_one_fact, rival_keys
from planners import DraftBatch, ModelEmbedder, PlannerSettings, plan

OLDEST = 100


@dataclass
class Edited:
    """The final model, and how it came to be."""

    model: EditedModel
    live: dict[EditId, EvaluationFact] = field(default_factory=dict)
    superseded: dict[EditId, EditId] = field(default_factory=dict)  # loser -> the newer edit of its fact
    by_key: dict[tuple[str, str], EditId] = field(
        default_factory=dict
    )  # live edits by the fact and by the prompt they answer
    when_new: dict[EditId, bool] = field(
        default_factory=dict
    )  # of the oldest: did they answer right when new?
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the editors that had a batch
    order: str = ""
    seconds: list[float] = field(default_factory=list)  # one per edit
    size_bytes: int = 0


def edit_all(
    model: EditedModel,
    facts: Mapping[EditId, EvaluationFact],
    options: EvaluateOptions,
    progress: ProgressCallback,
) -> Edited:
    """The facts arrive `batch_size` at a time; each arrival is planned and applied before the next."""
    planner = PlannerSettings(seed=options.seed, batch_size=options.batch_size, batch_editor=options.editor)
    edited = Edited(model, order=planner.order)
    embedder = ModelEmbedder("base", BaseVectors(model.base).vectors)
    pending = [pending_edit(edit_id, fact) for edit_id, fact in facts.items()]
    for start in range(0, len(pending), options.batch_size):
        arrived = pending[start : start + options.batch_size]
        draft = plan(arrived, settings=planner, embedder=embedder)
        edited.superseded |= dict(draft.superseded)
        for batch in draft.batches:
            _edit(edited, batch, facts, options, progress)
        _ask_when_new(edited, options)
    progress("edits", len(facts), len(facts))
    return edited


def stale_values(
    edited: Edited, facts: Mapping[EditId, EvaluationFact]
) -> list[tuple[EvaluationFact, EvaluationFact]]:
    """Superseded facts, each with the one that holds now; a fact that was only repeated is not stale."""
    stale = []
    for loser, winner in edited.superseded.items():
        while winner in edited.superseded:  # each step is newer: this ends
            winner = edited.superseded[winner]
        if facts[loser].target_new.strip() != facts[winner].target_new.strip():
            stale.append((facts[loser], facts[winner]))
    return stale


def _edit(
    edited: Edited,
    batch: DraftBatch,
    facts: Mapping[EditId, EvaluationFact],
    options: EvaluateOptions,
    progress: ProgressCallback,
) -> None:
    """Train one batch and let it answer; each of its edits ends the older edits of its fact."""
    count, before = len(batch.edit_ids), len(edited.seconds)

    def within(_stage: str, done: int, total: int) -> None:
        progress("edits", before + count * done // total, len(facts))

    name = batch.editor or "scen"
    editor = build_editor(name, {"seed": options.seed, "mode": options.mode, **options.settings})
    requests = [edit_request(i, facts[i]) for i in batch.edit_ids]
    begun = time.perf_counter()
    shard = editor.apply(requests, base=edited.model.base, parent=edited.model, progress=within)
    edited.model.enable(shard)
    duplicates = edited.model.duplicate_questions(shard)
    edited.seconds += [(time.perf_counter() - begun) / count] * count
    edited.settings[name] = editor.settings.model_dump()
    edited.size_bytes += shard.size_bytes
    edited.live |= {edit_id: facts[edit_id] for edit_id in batch.edit_ids}
    for edit_id in by_arrival(batch.edit_ids):
        _settle(edited, edit_id, duplicates.get(edit_id, ()))


def _settle(edited: Edited, edit_id: EditId, duplicates: Iterable[EditId]) -> None:
    """Of the edits of one fact, of one prompt, or of one question in other words, the newest wins."""
    fact = edited.live.get(edit_id)
    if fact is None:  # lost already to a newer one of its own batch
        return
    keys = tuple(rival_keys(pending_edit(edit_id, fact)))
    rivals = [
        other for other in duplicates if other in edited.live and may_be_one_fact(fact, edited.live[other])
    ]
    same = {edit_id, *rivals, *(edited.by_key.get(key, edit_id) for key in keys)} & edited.live.keys()
    newest = max(same, key=arrival)  # the facts arrive in the order of the changes
    for older in same - {newest}:
        edited.model.disable([older])
        del edited.live[older]
        edited.superseded[older] = newest
    if newest == edit_id:
        edited.by_key |= dict.fromkeys(keys, edit_id)


def _ask_when_new(edited: Edited, options: EvaluateOptions) -> None:
    """Ask the oldest edits once they are in, to know later what they lost."""
    asked = [i for i in by_arrival(edited.live)[:OLDEST] if i not in edited.when_new]
    if len(edited.when_new) >= OLDEST or not asked:
        return
    facts = [edited.live[i] for i in asked]
    prompts = [as_prompt(options.form, fact.prompt) for fact in facts]
    answers = edited.model.generate(prompts, max_new_tokens=options.tokens)
    right = judge_of(options.form)
    for edit_id, fact, answer in zip(asked, facts, answers, strict=True):
        edited.when_new[edit_id] = right(answer.text, fact.target_new, fact.ground_truth)
