"""Questions with their wanted answers, asked once of the edited model; every score is read off the same answers."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from daemon.evaluation.editing import Edited, stale_values
from daemon.evaluation.facts_file import EvaluationFact
from daemon.events.fact_event import prompt_key
from editors.inference.edited_model import Answer, EditedModel
from editors.inference.scoring import teacher_forced
from edits.ids import EditId
from edits.judging import Form, as_prompt, contains, is_exact, judge_of, share
from edits.names.surface import SurfaceIndex
from edits.prompts import Prompt
from edits.recency import by_arrival

NOBODY: EditId = ""  # the owner of a question that no live edit shall answer


@dataclass(frozen=True, slots=True)
class ScoredQuestion:
    """One prompt, what it shall generate, the edit that shall answer, and a value that a right answer does not hold."""

    prompt: Prompt
    wanted: str
    owner: EditId
    never: str | None = None


class AnsweredQuestions:
    """Questions and the edited model's answers to them."""

    def __init__(
        self, model: EditedModel, questions: Sequence[ScoredQuestion], *, form: Form, tokens: int
    ) -> None:
        self.model = model
        self.questions = questions
        self.form = form
        self.prompts = [question.prompt for question in questions]
        begun = time.perf_counter()
        self.answers: list[Answer] = model.generate(self.prompts, max_new_tokens=tokens) if questions else []
        self.seconds = time.perf_counter() - begun

    @property
    def score(self) -> float | None:
        return share(self.right(answer.text for answer in self.answers))

    @property
    def exact(self) -> float | None:
        pairs = zip(self.answers, self.questions, strict=True)
        return share([is_exact(answer.text, question.wanted) for answer, question in pairs])

    @property
    def right_expert(self) -> float | None:
        pairs = zip(self.answers, self.questions, strict=True)
        return share([answer.edit_id == question.owner for answer, question in pairs])

    @property
    def miss(self) -> float | None:
        return share([answer.edit_id is None for answer in self.answers])

    @property
    def forced(self) -> float | None:
        return teacher_forced(self.model, self.prompts, [question.wanted for question in self.questions])

    def right(self, texts: Iterable[str]) -> list[bool]:
        """Which of other answers to these questions are right, in the form's own sense."""
        judge = judge_of(self.form)
        return [judge(text, q.wanted, q.never) for text, q in zip(texts, self.questions, strict=True)]

    def among(self, owners: set[EditId]) -> float | None:
        """The score over the questions of some edits alone."""
        right = self.right(answer.text for answer in self.answers)
        return share([one for one, q in zip(right, self.questions, strict=True) if q.owner in owners])


def questions_of(
    edited: Edited, facts: Mapping[EditId, EvaluationFact], form: Form
) -> dict[str, list[ScoredQuestion]]:
    """What is asked of the live edits, by kind; `stale` are the prompts and values of edits that lost to newer ones."""
    live = [(i, edited.live[i]) for i in by_arrival(edited.live)]

    def asked(text: str, wanted: str, owner: EditId, never: str | None = None) -> ScoredQuestion:
        return ScoredQuestion(as_prompt(form, text), wanted, owner, never)

    return {
        "own": [asked(f.prompt, f.target_new, i, f.ground_truth) for i, f in live],
        "rephrased": [asked(p, f.target_new, i, f.ground_truth) for i, f in live for p in f.rephrase_prompts],
        "alias": [
            asked(p, f.target_new, i, f.ground_truth) for i, f in live for p in f.portability_prompts.alias
        ],
        "reasoning": [asked(r.prompt, r.answer, i) for i, f in live for r in f.portability_prompts.reasoning],
        "stale": [
            asked(old.prompt, old.target_new, NOBODY, _longer(new.target_new, old.target_new))
            for old, new in stale_values(edited, facts)
        ],
    }


def probes_of(live: Mapping[EditId, EvaluationFact], far: Sequence[str]) -> dict[str, list[str]]:
    """Texts by kind that no edit may answer, without those that lie in the scope of one."""
    subjects = SurfaceIndex()
    for edit_id, fact in live.items():
        subjects.add(edit_id, (fact.subject, *fact.aliases))
    asked = {prompt_key(text) for fact in live.values() for text in (fact.prompt, *fact.rephrase_prompts)}
    facts = [live[edit_id] for edit_id in by_arrival(live)]
    relation = (p for fact in facts for p in fact.locality_prompts.relation)
    subject = (p for fact in facts for p in fact.locality_prompts.subject)
    yes_no = (p for fact in facts for p in fact.yes_no)
    two_hop = (r.prompt for fact in facts for r in fact.portability_prompts.reasoning)
    return {
        "far": [p for p in far if not subjects.find(p)],
        "relation": [p for p in dict.fromkeys(relation) if not subjects.find(p)],
        **{
            kind: [p for p in dict.fromkeys(texts) if prompt_key(p) not in asked]
            for kind, texts in (("subject", subject), ("yes_no", yes_no), ("two_hop", two_hop))
        },
    }


def _longer(new: str, old: str) -> str | None:
    """The value that holds, where the old one is part of it: then an answer with both is not stale."""
    return new if contains(new, old) else None
