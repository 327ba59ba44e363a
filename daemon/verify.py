"""Verify a candidate before anybody is served by it: do the edits answer, does all else stay as it was?

Every answer says which edit gave it, so that a failure always has a culprit: the batch's edits are judged one by one,
and the innocent ones go live.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from daemon.ledger.values import Edit, RejectedEdit
from daemon.settings import VerifySettings
from editors.model import Answer, EditedModel
from editors.shards import Shard
from editors.surface import SurfaceIndex

# A prompt's answer may be longer than its target only by what shows that it does not stop.
EXTRA_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who passed, who failed and why, and the batch's scores (0..1; None where there was nothing to ask)."""

    passed: tuple[int, ...]
    failed: Mapping[int, RejectedEdit]
    scores: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, what must come, and the batch's edit that asks (None: an earlier edit or an unrelated prompt)."""

    prompt: str
    expected: str
    edit_id: int | None = None


class Verifier:
    """Scores candidate shards against the floors of the settings."""

    def __init__(self, settings: VerifySettings, *, max_new_tokens: int) -> None:
        self._settings = settings
        self._tokens = max_new_tokens

    def check(
        self,
        model: EditedModel,
        shard: Shard,
        edits: Sequence[Edit],
        *,
        replaced: Iterable[str],
        earlier: Sequence[Edit],
        probes: Sequence[str] = (),
    ) -> Verdict:
        """Ask the candidate: the batch's own prompts, a sample of earlier edits, and what must not change.

        Args:
            edits: the assertions that the shard carries.
            replaced: ids of live edits that these will supersede.
            earlier: live edits that stay.
            probes: prompts that no edit concerns, in addition to the edits' own locality prompts.
        """
        gone = set(replaced)
        own = [Question(e.prompt or "", e.target_new or "", e.id) for e in edits]
        rephrased = [Question(p, e.target_new or "", e.id) for e in edits for p in e.event.rephrase_prompts]
        sample = self._sample([e for e in earlier if e.edit_id not in gone])
        retained = [Question(e.prompt or "", e.target_new or "") for e in sample]
        untouched = self._locality(model, edits, probes, earlier)
        with model.candidate(shard, without=gone):
            answers = [self._ask(model, part) for part in (own, rephrased, retained, untouched)]
        scores = {
            name: _share(questions, got)
            for name, questions, got in zip(
                ("reliability", "generality", "retention", "locality"),
                (own, rephrased, retained, untouched),
                answers,
                strict=True,
            )
        }
        failed = self._failures(own, answers[0], edits)
        for name, floor, questions, got in (
            ("locality", self._settings.locality_floor, untouched, answers[3]),
            ("retention", self._settings.retention_floor, retained, answers[2]),
        ):
            share = scores[name]
            if share is not None and share < floor:
                failed |= _culprits(name, share, floor, questions, got, edits)
        passed = tuple(edit.id for edit in edits if edit.id not in failed)
        return Verdict(passed, failed, scores)

    def _failures(
        self, own: Sequence[Question], answers: Sequence[Answer], edits: Sequence[Edit]
    ) -> dict[int, RejectedEdit]:
        failed: dict[int, RejectedEdit] = {}
        for edit, question, answer in zip(edits, own, answers, strict=True):
            if answer.text == question.expected:
                continue
            spoke = "the base" if answer.edit_id is None else f"edit {answer.edit_id}"
            failed[edit.id] = RejectedEdit(
                f"its prompt is answered {answer.text[:100]!r} (by {spoke}), not {question.expected[:100]!r}",
                {"reliability": 0.0, "score": answer.score},
            )
        return failed

    def _sample(self, earlier: Sequence[Edit]) -> list[Edit]:
        count = min(len(earlier), self._settings.retention_sample)
        # Seeded by what there is: a repeated verification asks the same.
        return random.Random(len(earlier)).sample(list(earlier), count)  # noqa: S311

    def _locality(
        self, model: EditedModel, edits: Sequence[Edit], probes: Sequence[str], earlier: Sequence[Edit]
    ) -> list[Question]:
        asked = {edit.prompt for edit in (*edits, *earlier)}
        subjects = SurfaceIndex()
        for edit in (*edits, *earlier):
            subjects.add(edit.edit_id, (edit.subject, *edit.event.aliases))
        mine = [p for e in edits for p in e.event.locality_prompts.all() if not _asks_another(p, e, subjects)]
        prompts = [
            p for p in dict.fromkeys([*mine, *(p for p in probes if not subjects.find(p))]) if p not in asked
        ]
        texts = model.base.generate(prompts, max_new_tokens=self._tokens) if prompts else []
        return [Question(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]

    def _ask(self, model: EditedModel, questions: Sequence[Question]) -> list[Answer]:
        return model.generate([q.prompt for q in questions], max_new_tokens=self._tokens) if questions else []


def _asks_another(prompt: str, edit: Edit, subjects: SurfaceIndex) -> bool:
    """Whether a locality prompt names a subject that some other edit changes, on purpose maybe."""
    return bool(subjects.find(prompt) - {edit.edit_id})


def _share(questions: Sequence[Question], answers: Sequence[Answer]) -> float | None:
    if not questions:
        return None
    return sum(a.text == q.expected for q, a in zip(questions, answers, strict=True)) / len(questions)


def _culprits(
    name: str,
    share: float,
    floor: float,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    edits: Sequence[Edit],
) -> dict[int, RejectedEdit]:
    batch = {edit.edit_id: edit.id for edit in edits}
    found: dict[int, RejectedEdit] = {}
    for question, answer in zip(questions, answers, strict=True):
        if answer.text != question.expected and answer.edit_id in batch:
            found[batch[answer.edit_id]] = RejectedEdit(
                f"{name} {share:.3f} is under the floor {floor}: it answers {question.prompt[:100]!r} "
                f"with {answer.text[:100]!r}, not {question.expected[:100]!r}",
                {name: share, "score": answer.score},
            )
    return found
