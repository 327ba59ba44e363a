"""Verify a candidate before anybody is served by it: do the edits answer, does all else stay as it was?

Every answer says which edit gave it, so that a failure always has a culprit: the batch's edits are judged one by one,
and the innocent ones go live.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from daemon.ledger.values import Edit, RejectedEdit
from daemon.settings import VerifySettings
from editors.model import Answer, EditedModel
from editors.scoring import score_answers
from editors.shards import Shard


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who passed, who failed and why, and the batch's scores (0..1; None where there was nothing to ask)."""

    passed: tuple[int, ...]
    failed: Mapping[int, RejectedEdit]
    scores: Mapping[str, float | None]
    fault: str | None = None  # a floor that is missed though nobody of the batch is to blame


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
        shards: Sequence[Shard],
        edits: Sequence[Edit],
        *,
        replaced: Iterable[str],
        earlier: Sequence[Edit],
    ) -> Verdict:
        """Ask the candidate: the batch's own prompts, earlier edits, and what must not change.

        Args:
            shards: all that would be published together.
            edits: the assertions that the shards carry.
            replaced: ids of live edits that these will supersede.
            earlier: live edits that must go on answering.
        """
        gone = set(replaced)
        own = [Question(e.prompt or "", e.target_new or "", e.id) for e in edits]
        rephrased = [
            Question(p, e.target_new or "", e.id)
            for e in edits
            for p in e.event.rephrase_prompts
            if model.base.fits(p)
        ]
        retained = [Question(e.prompt or "", e.target_new or "") for e in earlier if e.edit_id not in gone]
        with model.candidate(shards, without=gone):
            untouched = self._untouched(model, edits)
            asked = (own, rephrased, retained, untouched)
            answers = [self._ask(model, part) for part in asked]
        names = ("reliability", "generality", "retention", "locality")
        scores = {
            name: score_answers(given, [question.expected for question in part])
            for name, part, given in zip(names, asked, answers, strict=True)
        }
        failed = self._failures([*own, *rephrased], [*answers[0], *answers[1]], edits)
        # An earlier edit that lost its voice to this batch is always somebody's fault, however large the sample.
        failed |= _culprits("retention", scores["retention"], retained, answers[2], edits)
        if scores["locality"] is not None and scores["locality"] < self._settings.locality_floor:
            failed |= _culprits("locality", scores["locality"], untouched, answers[3], edits)
        passed = tuple(edit.id for edit in edits if edit.id not in failed)
        return Verdict(passed, failed, scores, self._fault_without_culprit(scores, failed))

    def _fault_without_culprit(
        self, scores: Mapping[str, float | None], failed: Mapping[int, RejectedEdit]
    ) -> str | None:
        """What is under its floor though no edit of the batch can be blamed for it."""
        if failed:
            return None  # asked again without them
        for name, floor in (
            ("locality", self._settings.locality_floor),
            ("retention", self._settings.retention_floor),
        ):
            share = scores[name]
            if share is not None and share < floor:
                return (
                    f"{name} {share:.3f} is under the floor {floor}, and no edit of this batch is the cause"
                )
        return None

    def _failures(
        self, questions: Sequence[Question], answers: Sequence[Answer], edits: Sequence[Edit]
    ) -> dict[int, RejectedEdit]:
        """Edits that do not answer their own prompt, or too few of the phrasings that came with them."""
        failed: dict[int, RejectedEdit] = {}
        counts = Counter(question.edit_id for question in questions)
        missed: defaultdict[int | None, list[tuple[Question, Answer]]] = defaultdict(list)
        for asked, given in zip(questions, answers, strict=True):
            if given.text != asked.expected:
                missed[asked.edit_id].append((asked, given))
        for edit in edits:
            wrong = missed[edit.id]
            share = 1 - len(wrong) / max(1, counts[edit.id])
            if not wrong or (share >= self._settings.reliability_floor and wrong[0][0].prompt != edit.prompt):
                continue
            question, answer = wrong[0]
            spoke = "the base" if answer.edit_id is None else f"edit {answer.edit_id}"
            failed[edit.id] = RejectedEdit(
                f"{question.prompt[:100]!r} is answered {answer.text[:100]!r} (by {spoke}), "
                f"not {question.expected[:100]!r}",
                {"reliability": share, "score": answer.score},
            )
        return failed

    def _untouched(self, model: EditedModel, edits: Sequence[Edit]) -> list[Question]:
        """What must be answered as by the base: the batch's locality prompts that name no other edited subject.

        Probes that name no edited subject at all are the regression's: no edit can fire on them.
        """
        asked = {prompt for edit in edits for prompt in (edit.prompt, *edit.event.rephrase_prompts)}
        mine = [p for e in edits for p in e.event.locality_prompts.all() if not model.named(p) - {e.edit_id}]
        prompts = [p for p in dict.fromkeys(mine) if p not in asked and model.base.fits(p)]
        texts = model.base.generate(prompts, max_new_tokens=self._tokens) if prompts else []
        return [Question(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]

    def _ask(self, model: EditedModel, questions: Sequence[Question]) -> list[Answer]:
        return model.generate([q.prompt for q in questions], max_new_tokens=self._tokens) if questions else []


def _culprits(
    name: str,
    share: float | None,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    edits: Sequence[Edit],
) -> dict[int, RejectedEdit]:
    """The batch's edits that gave wrong answers to these questions."""
    batch = {edit.edit_id: edit.id for edit in edits}
    found: dict[int, RejectedEdit] = {}
    for question, answer in zip(questions, answers, strict=True):
        if answer.text != question.expected and answer.edit_id in batch:
            found[batch[answer.edit_id]] = RejectedEdit(
                f"{name}: it answers {question.prompt[:100]!r} with {answer.text[:100]!r}, "
                f"not {question.expected[:100]!r}",
                {name: share, "score": answer.score},
            )
    return found
