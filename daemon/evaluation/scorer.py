"""Scores the final model against its own base: who is asked what, and what is read off the answers."""

import platform
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from daemon.evaluation.editing import Edited
from daemon.evaluation.evaluate_options import EvaluateOptions
from daemon.evaluation.evaluation_report import (
    Encoder,
    EvaluationReport,
    FalseFire,
    InContext,
    Kinds,
    LeftOutCounts,
    Oldest,
    Pair,
    Portability,
    Routing,
    SecondTurn,
    Speed,
)
from daemon.evaluation.facts_file import Readable
from daemon.evaluation.in_context import InContextBaseline, in_context
from daemon.evaluation.questions import AnsweredQuestions, probes_of, questions_of
from daemon.evaluation.second_turn import SecondTurns, score_second_turns, second_turns
from editors.base.base import Base
from editors.inference.edited_model import Answer, EditedModel
from editors.inference.scoring import fire_rate, next_token_kl, score_answers
from editors.methods.common.editor import ProgressCallback
from edits.judging import as_prompt, share
from edits.prompts import Prompt

RETENTION_AGES = (1, 10, 100)
THROUGHPUT_PROMPTS = 64
LOCALITY = ("far", "relation", "subject")


@dataclass(frozen=True, slots=True)
class _Probed:
    """Locality probes of one kind, with both models' answers."""

    prompts: list[Prompt]
    answers: list[Answer]
    base: list[str]


class Scorer:
    """Asks everything once, in order, and reports its progress."""

    def __init__(
        self,
        edited: Edited,
        known: Readable,
        options: EvaluateOptions,
        encoder: Encoder | None,
        progress: ProgressCallback,
    ) -> None:
        self._edited = edited
        self._model = edited.model
        self._known = known
        self._options = options
        self._encoder = encoder
        self._progress = progress
        self._questions = questions_of(edited, known.facts, options.form)
        texts = probes_of(edited.live, known.far)
        self._subject_texts = texts["subject"]
        self._probes = {
            kind: [as_prompt(options.form, text) for text in of_kind] for kind, of_kind in texts.items()
        }
        self._turns = self._second_turns()
        self._done = 0
        self._total = self._count()

    def report(self, requested: int) -> EvaluationReport:
        """All scores of the final model."""
        asked = {name: self._generate(name) for name in self._questions}
        probed = {kind: self._probe(kind) for kind in LOCALITY}
        own, rephrased = asked["own"], asked["rephrased"]
        alternative = self._in_context(own, rephrased, probed)
        turn = self._second_turn()
        left_out = dict(self._known.left_out)
        unreadable_yes_no = left_out.pop("yes_no", 0)
        readable = len(self._edited.live) / (len(self._edited.live) + left_out.get("facts", 0))
        return EvaluationReport(
            requested=requested,
            edits=len(self._edited.live),
            superseded=len(self._edited.superseded),
            left_out=LeftOutCounts(**left_out),
            reliability=(own.score or 0.0) * readable,
            generality=rephrased.score,
            exact=Pair(reliability=(own.exact or 0.0) * readable, generality=rephrased.exact),
            ended=share([not answer.truncated for answer in (*own.answers, *rephrased.answers)]),
            locality=Kinds(**{kind: score_answers(one.answers, one.base) for kind, one in probed.items()}),
            locality_kl=Kinds(
                **{kind: next_token_kl(self._model, one.prompts) for kind, one in probed.items()}
            ),
            teacher_forced=Pair(reliability=own.forced, generality=rephrased.forced),
            routing=Routing(
                right_expert=rephrased.right_expert,
                miss=rephrased.miss,
                false_fire=self._false_fire(probed),
                unreadable_yes_no=unreadable_yes_no,
            ),
            in_context=alternative,
            second_turn=turn,
            portability=Portability(alias=asked["alias"].score, reasoning=asked["reasoning"].score),
            retention=list(_retention(own, rephrased, newest=max(map(int, self._edited.live)))),
            oldest=_oldest(self._edited, own),
            stale_answer_rate=asked["stale"].score,
            **self._cost(own),
            **self._conditions(),
        )

    def _generate(self, name: str) -> AnsweredQuestions:
        asked = AnsweredQuestions(
            self._model, self._questions[name], form=self._options.form, tokens=self._options.tokens
        )
        self._report_progress(len(asked.questions))
        return asked

    def _probe(self, kind: str) -> _Probed:
        prompts, tokens = self._probes[kind], self._options.tokens
        answers = self._model.generate(prompts, max_new_tokens=tokens)
        base = self._model.base.generate(prompts, max_new_tokens=tokens)
        self._report_progress(len(prompts))
        return _Probed(prompts, answers, base)

    def _false_fire(self, probed: Mapping[str, _Probed]) -> FalseFire:
        fired = {kind: fire_rate(one.answers) for kind, one in probed.items()}
        for kind in ("yes_no", "two_hop"):  # what they are answered is judged nowhere: a route will do
            routes = self._model.route(self._probes[kind]) if self._probes[kind] else []
            fired[kind] = share([route.edit_id is not None for route in routes])
        return FalseFire(**fired)

    def _in_context(
        self, own: AnsweredQuestions, rephrased: AnsweredQuestions, probed: Mapping[str, _Probed]
    ) -> InContext | None:
        if self._options.baseline is None:
            return None
        baseline = InContextBaseline(self._model, self._edited.live, tokens=self._options.tokens)
        found = in_context(
            baseline,
            own,
            rephrased,
            {kind: one.prompts for kind, one in probed.items()},
            {kind: one.base for kind, one in probed.items()},
        )
        self._report_progress(self._count_in_context())
        return found

    def _second_turns(self) -> SecondTurns | None:
        if self._options.turns == 1:
            return None
        return second_turns(self._model.base, self._edited.live, self._subject_texts)

    def _second_turn(self) -> SecondTurn | None:
        if self._turns is None:
            return None
        found = score_second_turns(self._model, self._turns, tokens=self._options.tokens)
        self._report_progress(len(self._turns))
        return found

    def _count(self) -> int:
        asked = sum(map(len, self._questions.values())) + sum(len(self._probes[kind]) for kind in LOCALITY)
        turns = len(self._turns) if self._turns is not None else 0
        return asked + turns + (self._count_in_context() if self._options.baseline is not None else 0)

    def _count_in_context(self) -> int:
        edits = len(self._questions["own"]) + len(self._questions["rephrased"])
        return edits + sum(len(self._probes[kind]) for kind in LOCALITY)

    def _report_progress(self, count: int) -> None:
        self._done += count
        self._progress("scores", self._done, self._total)

    def _cost(self, own: AnsweredQuestions) -> dict[str, Any]:
        seconds = sorted(self._edited.seconds)
        return {
            "edit_seconds_total": sum(seconds),
            "edit_seconds_p50": statistics.median(seconds),
            "edit_seconds_p95": seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))],
            "bytes_per_edit": self._edited.size_bytes / len(seconds),
            "peak_memory_bytes": _peak_memory(self._model.base),
            "generation_tokens_per_second": _speed(
                self._model, own.prompts[:THROUGHPUT_PROMPTS], self._options.tokens
            ),
        }

    def _conditions(self) -> dict[str, Any]:
        """What a repetition needs."""
        options, base = self._options, self._model.base
        return {
            "model": options.model,
            "base_hash": base.hash,
            "encoder": self._encoder,
            "form": options.form,
            "turns": options.turns,
            "max_new_tokens": options.tokens,
            "facts": str(options.facts),
            "editor": options.editor,
            "editor_settings": dict(sorted(self._edited.settings.items())),
            "mode": options.mode,
            "order": self._edited.order,
            "batch_size": options.batch_size,
            "seed": options.seed,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {base.device}",
        }


def _retention(
    own: AnsweredQuestions, rephrased: AnsweredQuestions, *, newest: int
) -> Iterator[tuple[int, float | None, float | None]]:
    """Scores by age (edits since), each point over the edits older than the point before; an id tells when it arrived."""
    younger = -1
    for age in dict.fromkeys((*(a for a in RETENTION_AGES if a < newest + 1), newest + 1)):
        owners = {q.owner for q in own.questions if younger < newest - int(q.owner) < age}
        if owners:
            yield age, own.among(owners), rephrased.among(owners)
        younger = age - 1


def _oldest(edited: Edited, own: AnsweredQuestions) -> Oldest:
    """What the oldest edits that are still live lost since they were new."""
    still = {index for index in edited.when_new if index in edited.live}
    new = sum(edited.when_new[index] for index in still) / len(still) if still else None
    return Oldest(edits=len(still), reliability_new=new, reliability_final=own.among(still))


def _speed(model: EditedModel, prompts: Sequence[Prompt], tokens: int) -> Speed:
    def rate(edited: bool) -> float:
        begun = time.perf_counter()
        if edited:
            texts = [answer.text for answer in model.generate(prompts, max_new_tokens=tokens)]
        else:
            texts = model.base.generate(prompts, max_new_tokens=tokens)
        seconds = time.perf_counter() - begun
        new_tokens = sum(
            len(model.base.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in texts
        )
        return new_tokens / seconds

    rate(edited=True)  # warm up both
    return Speed(base=rate(edited=False), edited=rate(edited=True))


def _peak_memory(base: Base) -> int:
    if base.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(base.device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
