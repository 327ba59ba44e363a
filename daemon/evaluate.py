"""`upkeep evaluate`: apply T edits batch by batch, then score the final model against its own base."""

import platform
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from daemon.base_vectors import BaseVectors
from daemon.evaluation_data import (
    BadFile,
    Fact,
    Readable,
    edit_request,
    pending_edit,
    read_facts,
    read_probes,
    readable,
)
from daemon.evaluation_report import Kinds, LeftOut, Oldest, Pair, Portability, Report, Routing, Speed
from daemon.events import prompt_key
from editors.base import Base, load_base
from editors.model import Answer, EditedModel
from editors.registry import build_editor
from editors.scoring import fire_rate, next_token_kl, score_answers, teacher_forced
from editors.surface import SurfaceIndex
from editors.training import Progress
from planners import DraftBatch, ModelEmbedder, PlannerSettings, plan

RETENTION_AGES = (1, 10, 100)
THROUGHPUT_PROMPTS = 64
OLDEST = 100


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What to evaluate; `editor` is scen, lemoe or auto, `edits` None means all facts of the file."""

    model: str
    facts: Path
    probes: Path | None
    editor: str
    edits: int | None
    batch_size: int
    seed: int
    max_new_tokens: int = 32
    mode: str = "default"  # or "paper"; see editors.registry
    settings: Mapping[str, int | float | str | bool] = field(default_factory=dict)  # more of the editor's own


@dataclass
class _Edited:
    """The final model, and how it came to be."""

    model: EditedModel
    live: dict[int, Fact]
    superseded: dict[int, int] = field(default_factory=dict)  # loser -> the newer edit of its fact
    by_prompt: dict[str, int] = field(default_factory=dict)  # live edits by the prompt that they answer
    when_new: dict[int, bool] = field(default_factory=dict)  # of the oldest: did they answer right when new?
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the editors that had a batch
    order: str = ""
    seconds: list[float] = field(default_factory=list)  # one per edit
    size_bytes: int = 0


def evaluate(options: EvaluateOptions, *, progress: Progress | None = None) -> Report:
    """Edit and score; `progress` is told the stage, how much of it is done, and how much there is.

    Raises:
        BadFile: the facts or probes cannot be read, or the base can read none of the facts.
        PermanentError: the base or the editor cannot be used.
    """
    told = progress or _tell_nobody
    facts = read_facts(options.facts, options.edits)
    far = [p.prompt for p in read_probes(options.probes) if p.kind == "far"] if options.probes else []
    torch.manual_seed(options.seed)
    base = load_base(options.model)
    known = readable(facts, far, base.can_answer)
    if not known.facts:
        raise BadFile(f"{options.facts}: every prompt or answer is too long for the base {options.model}")
    edited = _edit_all(base, known.facts, options, told)
    return _score(edited, known, len(facts), options, told)


def _tell_nobody(_stage: str, _done: int, _total: int) -> None:
    return None


def _edit_all(base: Base, facts: Mapping[int, Fact], options: EvaluateOptions, progress: Progress) -> _Edited:
    """The facts arrive `batch_size` at a time; each arrival is planned and applied before the next."""
    planner = PlannerSettings(seed=options.seed, batch_size=options.batch_size, batch_editor=options.editor)
    edited = _Edited(EditedModel(base), {}, order=planner.order)
    embedder = ModelEmbedder("base", BaseVectors(base).vectors)
    pending = [pending_edit(index, fact) for index, fact in facts.items()]
    for start in range(0, len(pending), options.batch_size):
        arrived = pending[start : start + options.batch_size]
        draft = plan(arrived, settings=planner, embedder=embedder)
        edited.superseded |= dict(draft.superseded)
        for batch in draft.batches:
            _edit(edited, batch, facts, options, progress)
        _ask_when_new(edited, options)
    progress("edits", len(facts), len(facts))
    return edited


def _edit(
    edited: _Edited,
    batch: DraftBatch,
    facts: Mapping[int, Fact],
    options: EvaluateOptions,
    progress: Progress,
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
    alike = edited.model.asked_alike(shard)
    edited.seconds += [(time.perf_counter() - begun) / count] * count
    edited.settings[name] = editor.settings.model_dump()
    edited.size_bytes += shard.size_bytes
    edited.live |= {index: facts[index] for index in batch.edit_ids}
    for index in sorted(batch.edit_ids):
        _settle(edited, index, [int(other) for other in alike.get(str(index), ())])


def _settle(edited: _Edited, index: int, alike: Sequence[int]) -> None:
    """Of the edits of one prompt, or of one question in other words, the newest wins."""
    fact = edited.live.get(index)
    if fact is None:  # lost already to a newer one of its own batch
        return
    key = prompt_key(fact.prompt)
    same = {index, *alike, edited.by_prompt.get(key, index)} & edited.live.keys()
    newest = max(same)
    for older in same - {newest}:
        edited.model.disable([str(older)])
        del edited.live[older]
        edited.superseded[older] = newest
    if newest == index:
        edited.by_prompt[key] = index


def _ask_when_new(edited: _Edited, options: EvaluateOptions) -> None:
    """Ask the oldest edits once they are in, to know later what they lost."""
    asked = [i for i in sorted(edited.live)[:OLDEST] if i not in edited.when_new]
    if len(edited.when_new) < OLDEST and asked:
        prompts = [edited.live[i].prompt for i in asked]
        answers = edited.model.generate(prompts, max_new_tokens=options.max_new_tokens)
        for index, answer in zip(asked, answers, strict=True):
            edited.when_new[index] = answer.text == edited.live[index].target_new.strip()


def _stale(edited: _Edited, facts: Mapping[int, Fact]) -> list[tuple[str, str]]:
    """Prompts and the values that they must not generate any more; a fact that was only repeated is not stale."""
    stale = []
    for loser, winner in edited.superseded.items():
        while winner in edited.superseded:  # each step is newer: this ends
            winner = edited.superseded[winner]
        if facts[loser].target_new.strip() != facts[winner].target_new.strip():
            stale.append((facts[loser].prompt, facts[loser].target_new))
    return stale


def _score(
    edited: _Edited, known: Readable, requested: int, options: EvaluateOptions, progress: Progress
) -> Report:
    model, tokens = edited.model, options.max_new_tokens
    live = sorted(edited.live.items())
    probes = _probes(live, known.far)
    rows = {
        "own": [(f.prompt, f.target_new, i) for i, f in live],
        "rephrased": [(p, f.target_new, i) for i, f in live for p in f.rephrase_prompts],
        "alias": [(p, f.target_new, i) for i, f in live for p in f.portability_prompts.alias],
        "reasoning": [(r.prompt, r.answer, i) for i, f in live for r in f.portability_prompts.reasoning],
        "stale": [(prompt, old, -1) for prompt, old in _stale(edited, known.facts)],
    }
    total = sum(map(len, rows.values())) + sum(map(len, probes.values()))
    done = 0

    def asked_more(count: int) -> None:
        nonlocal done
        done += count
        progress("scores", done, total)

    asked: dict[str, _Asked] = {}
    for name, questions in rows.items():
        asked[name] = _Asked(model, questions, tokens)
        asked_more(len(questions))
    answers: dict[str, list[Answer]] = {}
    bases: dict[str, list[str]] = {}
    for kind, prompts in probes.items():
        answers[kind] = model.generate(prompts, max_new_tokens=tokens)
        bases[kind] = model.base.generate(prompts, max_new_tokens=tokens)
        asked_more(len(prompts))
    own, rephrased = asked["own"], asked["rephrased"]
    seconds = sorted(edited.seconds)
    unlearnable = known.left_out.get("facts", 0)
    return Report(
        requested=requested,
        edits=len(live),
        superseded=len(edited.superseded),
        left_out=LeftOut(**known.left_out),
        reliability=(own.score or 0.0) * len(live) / (len(live) + unlearnable),
        generality=rephrased.score,
        locality=Kinds(**{kind: score_answers(answers[kind], bases[kind]) for kind in probes}),
        locality_kl=Kinds(**{kind: next_token_kl(model, asked) for kind, asked in probes.items()}),
        teacher_forced=Pair(reliability=own.forced(), generality=rephrased.forced()),
        routing=Routing(
            right_expert=rephrased.right_expert,
            miss=rephrased.miss,
            false_fire=Kinds(**{kind: fire_rate(answers[kind]) for kind in probes}),
        ),
        portability=Portability(alias=asked["alias"].score, reasoning=asked["reasoning"].score),
        retention=list(_retention(own, rephrased, newest=max(edited.live))),
        oldest=_oldest(edited, own),
        stale_answer_rate=asked["stale"].score,
        edit_seconds_total=sum(seconds),
        edit_seconds_p50=statistics.median(seconds),
        edit_seconds_p95=seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))],
        bytes_per_edit=edited.size_bytes / len(seconds),
        peak_memory_bytes=_peak_memory(model.base),
        generation_tokens_per_second=_speed(model, [f.prompt for _, f in live[:THROUGHPUT_PROMPTS]], tokens),
        model=options.model,
        base_hash=model.base.hash,
        facts=str(options.facts),
        editor=options.editor,
        editor_settings=dict(sorted(edited.settings.items())),
        mode=options.mode,
        order=edited.order,
        batch_size=options.batch_size,
        seed=options.seed,
        machine=f"{platform.machine()}, {torch.get_num_threads()} threads, {model.base.device}",
    )


class _Asked:
    """Prompts with their wanted answers and edits, asked once; the scores are read off the answers."""

    def __init__(self, model: EditedModel, rows: Sequence[tuple[str, str, int]], tokens: int) -> None:
        self.model = model
        self.prompts = [prompt for prompt, _, _ in rows]
        self.wanted = [wanted for _, wanted, _ in rows]
        self.owners = [owner for _, _, owner in rows]
        self.answers: list[Answer] = model.generate(self.prompts, max_new_tokens=tokens) if rows else []

    @property
    def score(self) -> float | None:
        return score_answers(self.answers, self.wanted)

    @property
    def right_expert(self) -> float | None:
        pairs = list(zip(self.answers, self.owners, strict=True))
        return sum(a.edit_id == str(owner) for a, owner in pairs) / len(pairs) if pairs else None

    @property
    def miss(self) -> float | None:
        return sum(a.edit_id is None for a in self.answers) / len(self.answers) if self.answers else None

    def forced(self) -> float | None:
        return teacher_forced(self.model, self.prompts, self.wanted)

    def among(self, owners: set[int]) -> float | None:
        """The score over the rows of some edits alone."""
        chosen = [n for n, owner in enumerate(self.owners) if owner in owners]
        return score_answers([self.answers[n] for n in chosen], [self.wanted[n] for n in chosen])


def _probes(live: Sequence[tuple[int, Fact]], far: Sequence[str]) -> Mapping[str, list[str]]:
    """Probes by kind, without those that lie in the scope of some edit."""
    subjects = SurfaceIndex()
    for index, fact in live:
        subjects.add(str(index), (fact.subject, *fact.aliases))
    asked = {prompt_key(fact.prompt) for _, fact in live}
    relation = (p for _, fact in live for p in fact.locality_prompts.relation)
    subject = (p for _, fact in live for p in fact.locality_prompts.subject)
    return {
        "far": [p for p in far if not subjects.find(p)],
        "relation": [p for p in dict.fromkeys(relation) if not subjects.find(p)],
        "subject": [p for p in dict.fromkeys(subject) if prompt_key(p) not in asked],
    }


def _retention(
    own: _Asked, rephrased: _Asked, *, newest: int
) -> Iterator[tuple[int, float | None, float | None]]:
    """Scores by age (edits since), each point over the edits older than the point before."""
    younger = -1
    for age in dict.fromkeys((*(a for a in RETENTION_AGES if a < newest + 1), newest + 1)):
        owners = {index for index in own.owners if younger < newest - index < age}
        if owners:
            yield age, own.among(owners), rephrased.among(owners)
        younger = age - 1


def _oldest(edited: _Edited, own: _Asked) -> Oldest:
    """What the oldest edits that are still live lost since they were new."""
    still = {index for index in edited.when_new if index in edited.live}
    new = sum(edited.when_new[index] for index in still) / len(still) if still else None
    return Oldest(edits=len(still), reliability_new=new, reliability_final=own.among(still))


def _speed(model: EditedModel, prompts: Sequence[str], tokens: int) -> Speed:
    def rate(edited: bool) -> float:
        begun = time.perf_counter()
        if edited:
            texts = [answer.text for answer in model.generate(prompts, max_new_tokens=tokens)]
        else:
            texts = model.base.generate(prompts, max_new_tokens=tokens)
        seconds = time.perf_counter() - begun
        said = sum(
            len(model.base.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in texts
        )
        return said / seconds

    rate(edited=True)  # warm up both
    return Speed(base=rate(edited=False), edited=rate(edited=True))


def _peak_memory(base: Base) -> int:
    if base.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(base.device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
