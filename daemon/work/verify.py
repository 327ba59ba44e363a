"""Verify a candidate before anybody is served by it: do the edits answer, does all else stay as it was?

Every answer says which edit gave it, so that a failure always has a culprit: the batch's edits are judged one by one,
and those that pass go live. Where the base is asked through its chat template, too, an edit must hold in both forms.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from daemon.ledger.values import Edit, RejectedEdit
from daemon.settings.tables import VerifySettings
from editors.base.base import Base
from editors.inference.edited_model import Answer, EditedModel
from editors.store.shards import Shard
from edits.ids import EditId
from edits.judging import Form, is_exact, is_stated, share
from edits.prompts import Prompt, asked_in_chat

# What a score is called, by the form in which was asked.
_SUFFIX: Mapping[Form, str] = {"plain": "", "chat": "_chat"}


@dataclass(frozen=True, slots=True)
class Verification:
    """Who passed, who failed and why, and the batch's scores (0..1; None where there was nothing to ask)."""

    passed: tuple[EditId, ...]
    failed: Mapping[EditId, RejectedEdit]
    scores: Mapping[str, float | None]
    fault: str | None = None  # a floor that is missed though nobody of the batch is to blame


@dataclass(frozen=True, slots=True)
class Expectation:
    """A text in one form, and what must come.

    Attributes:
        edit_id: the batch's edit that asks; None: an earlier edit or what must stay as it was.
        never: the value that the expected one replaces, if that is known.
        free: the answer may give what is expected in words of its own, must not give `never`, and must end by itself.
        untouched: what is expected is the base's own answer; where no edit fired, another one is numerical noise.
    """

    text: str
    prompt: Prompt
    expected: str
    edit_id: EditId | None = None
    never: str | None = None
    free: bool = False
    untouched: bool = False

    @property
    def form(self) -> Form:
        return "plain" if isinstance(self.prompt, str) else "chat"

    def is_right(self, answer: Answer) -> bool:
        """Whether this answer will do."""
        if self.untouched and answer.edit_id is None:
            return True
        if self.free:
            return not answer.truncated and is_stated(answer.text, self.expected, self.never)
        return is_exact(answer.text, self.expected)


class Verifier:
    """Scores candidate shards against the floors of the settings."""

    def __init__(
        self, settings: VerifySettings, *, max_new_tokens: int, far_texts: Sequence[str] = ()
    ) -> None:
        """
        Args:
            far_texts: what concerns no edit; each is asked of every batch.
        """
        self._settings = settings
        self._tokens = max_new_tokens
        self._far_texts = far_texts

    def check(
        self,
        model: EditedModel,
        shards: Sequence[Shard],
        edits: Sequence[Edit],
        *,
        replaced: Iterable[EditId],
        earlier: Sequence[Edit],
    ) -> Verification:
        """Ask the candidate: the batch's own prompts, earlier edits, and what must not change.

        Args:
            shards: all that would be published together.
            edits: the assertions that the shards carry.
            replaced: ids of live edits that these will supersede.
            earlier: live edits that must go on answering.
        """
        gone = set(replaced)
        own = [q for e in edits for q in _questions_of(e, [e.prompt or ""], model.base)]
        rephrased = [q for e in edits for q in _questions_of(e, e.event.rephrase_prompts, model.base)]
        retained = [_retention(e, model.base) for e in earlier if e.id not in gone]
        with model.candidate(shards, without=gone):
            untouched = self._untouched(model, edits)
            asked = {
                "reliability": own,
                "generality": rephrased,
                "retention": retained,
                "locality": untouched,
            }
            answers = self._answers(model, asked)
            captured = self._captured(model, edits)
        scores = _scores(asked, answers, model.base)
        if self._far_texts:
            scores["locality_far"] = 1 - len({t for of in captured.values() for t in of}) / len(
                self._far_texts
            )
        failed = self._failures([*own, *rephrased], [*answers["reliability"], *answers["generality"]], edits)
        # An earlier edit that stopped firing through this batch is always somebody's fault, however large the sample.
        failed |= self._capturing(captured)
        failed |= _culprits("retention", scores["retention"], retained, answers["retention"], edits)
        for name in _under_floor("locality", scores, self._settings.locality_floor):
            failed |= _culprits(name, scores[name], untouched, answers["locality"], edits)
        passed = tuple(edit.id for edit in edits if edit.id not in failed)
        return Verification(passed, failed, scores, self._fault_without_culprit(scores, failed))

    def _fault_without_culprit(
        self, scores: Mapping[str, float | None], failed: Mapping[EditId, RejectedEdit]
    ) -> str | None:
        """What is under its floor though no edit of the batch can be blamed for it."""
        if failed:
            return None  # asked again without them
        for kind, floor in (
            ("locality", self._settings.locality_floor),
            ("retention", self._settings.retention_floor),
        ):
            for name in _under_floor(kind, scores, floor):
                return f"{name} {scores[name]:.3f} is under the floor {floor}, and no edit of this batch is the cause"
        return None

    def _failures(
        self, questions: Sequence[Expectation], answers: Sequence[Answer], edits: Sequence[Edit]
    ) -> dict[EditId, RejectedEdit]:
        """Edits that in one of the forms do not answer their own prompt, or too few of the phrasings that came with them."""
        failed: dict[EditId, RejectedEdit] = {}
        counts = Counter((question.edit_id, question.form) for question in questions)
        missed: defaultdict[tuple[EditId | None, Form], list[tuple[Expectation, Answer]]] = defaultdict(list)
        for asked, given in zip(questions, answers, strict=True):
            if not asked.is_right(given):
                missed[asked.edit_id, asked.form].append((asked, given))
        for edit in edits:
            for form, suffix in _SUFFIX.items():
                wrong = missed[edit.id, form]
                right = 1 - len(wrong) / max(1, counts[edit.id, form])
                if wrong and (right < self._settings.reliability_floor or wrong[0][0].text == edit.prompt):
                    scores = {f"reliability{suffix}": right, "score": wrong[0][1].score}
                    failed.setdefault(edit.id, RejectedEdit(_reason(*wrong[0]), scores))
        return failed

    def _captured(self, model: EditedModel, edits: Sequence[Edit]) -> dict[EditId, list[str]]:
        """The far texts that each edit fires on, though they are none of its phrasings. Only routes: where none fires, the
        base answers."""
        texts = [text for text in self._far_texts if model.named(text)]
        texts = [text for text in texts if model.base.fits(text)]
        batch = {edit.id: edit for edit in edits}
        found: defaultdict[EditId, list[str]] = defaultdict(list)
        for text, route in zip(texts, model.route(texts), strict=True):
            edit = batch.get(route.edit_id or "")
            if edit is not None and text not in (edit.prompt, *edit.event.rephrase_prompts):
                found[edit.id].append(text)
        return found

    def _capturing(self, captured: Mapping[EditId, Sequence[str]]) -> dict[EditId, RejectedEdit]:
        """Edits that fire on more of the far texts than they may."""
        count, ceiling = len(self._far_texts), self._settings.far_ceiling
        return {
            edit: RejectedEdit(
                f"far: it fires on {len(texts)} of {count} texts that concern no edit (at most {ceiling:.2%} may), such as "
                f"{texts[0][:100]!r}: name the subject in full, and ask in the prompt for what is to change",
                {"far": len(texts) / count},
            )
            for edit, texts in captured.items()
            if len(texts) > ceiling * count
        }

    def _untouched(self, model: EditedModel, edits: Sequence[Edit]) -> list[Expectation]:
        """What must be answered as by the base: the batch's locality prompts that name no other edited subject.

        Probes that name no edited subject at all are the regression's: no edit can fire on them.
        """
        asked = {prompt for edit in edits for prompt in (edit.prompt, *edit.event.rephrase_prompts)}
        mine = [p for e in edits for p in e.event.locality_prompts.all() if not model.named(p) - {e.id}]
        texts = [p for p in dict.fromkeys(mine) if p not in asked and model.base.fits(p)]
        prompts = [(text, prompt) for text in texts for prompt in _forms_of(text, model.base)]
        base_answers = model.base.generate([prompt for _, prompt in prompts], max_new_tokens=self._tokens)
        return [
            Expectation(text, prompt, answer, untouched=True)
            for (text, prompt), answer in zip(prompts, base_answers, strict=True)
        ]

    def _answers(
        self, model: EditedModel, asked: Mapping[str, Sequence[Expectation]]
    ) -> dict[str, list[Answer]]:
        """The answers to all of them in one call: as few batches as there can be."""
        prompts = [question.prompt for part in asked.values() for question in part]
        answers = model.generate(prompts, max_new_tokens=self._tokens)
        ends = accumulate(map(len, asked.values()), initial=0)
        return {name: answers[a:b] for name, (a, b) in zip(asked, pairwise(ends), strict=True)}


def _forms_of(text: str, base: Base) -> list[Prompt]:
    """A text as it stands, and as one user turn where the base takes that; a rendered conversation, as such alone."""
    rendered = base.conversation(text)
    if rendered is not None:
        return [rendered]
    in_chat = asked_in_chat(text)
    return [text, in_chat] if base.chat and base.fits(in_chat) else [text]


def _questions_of(edit: Edit, texts: Iterable[str], base: Base) -> list[Expectation]:
    """An edit's own prompt, or phrasings of it, in all forms; those that the base cannot read are passed over."""
    wanted, never = edit.target_new or "", edit.event.ground_truth
    return [
        Expectation(text, prompt, wanted, edit.id, never, free=not isinstance(prompt, str))
        for text in texts
        if text == edit.prompt or base.fits(text)
        for prompt in _forms_of(text, base)
    ]


def _retention(edit: Edit, base: Base) -> Expectation:
    """An earlier edit is asked as it came: it was verified in all forms when it was new."""
    text = edit.prompt or ""
    prompt = base.conversation(text) or text
    free = not isinstance(prompt, str)
    return Expectation(text, prompt, edit.target_new or "", never=edit.event.ground_truth, free=free)


def _scores(
    asked: Mapping[str, Sequence[Expectation]], answers: Mapping[str, Sequence[Answer]], base: Base
) -> dict[str, float | None]:
    """The share of right answers of each kind, by form; retention's is one for both."""
    scores: dict[str, float | None] = {}
    for name, questions in asked.items():
        right = [(q.form, q.is_right(a)) for q, a in zip(questions, answers[name], strict=True)]
        if name == "retention":
            scores[name] = share([ok for _, ok in right])
            continue
        for form, suffix in _SUFFIX.items():
            if form == "plain" or base.chat:
                scores[f"{name}{suffix}"] = share([ok for of, ok in right if of == form])
    return scores


def _under_floor(kind: str, scores: Mapping[str, float | None], floor: float) -> list[str]:
    """The scores of this kind, by form, that are under their floor."""
    names = [f"{kind}{suffix}" for suffix in _SUFFIX.values()]
    return [name for name in names if (found := scores.get(name)) is not None and found < floor]


def _reason(question: Expectation, answer: Answer) -> str:
    """Why an edit is turned down, with the form that failed."""
    gave = "the base" if answer.edit_id is None else f"edit {answer.edit_id}"
    given = f"{question.text[:100]!r} is answered {answer.text[:100]!r} (by {gave})"
    if not question.free:
        return f"{given}, not {question.expected[:100]!r}"
    if answer.truncated:
        return (
            f"in chat, {given}, which does not end within {answer.new_tokens} tokens (model.max_new_tokens)"
        )
    never = f" and not {question.never[:100]!r}" if question.never else ""
    return f"in chat, {given}, which must say {question.expected[:100]!r}{never}"


def _culprits(
    name: str,
    right: float | None,
    questions: Sequence[Expectation],
    answers: Sequence[Answer],
    edits: Sequence[Edit],
) -> dict[EditId, RejectedEdit]:
    """The batch's edits that gave wrong answers to these questions, those of the score's form."""
    batch = {edit.id for edit in edits}
    found: dict[EditId, RejectedEdit] = {}
    for question, answer in zip(questions, answers, strict=True):
        of_score = name == "retention" or name.endswith(_SUFFIX["chat"]) == (question.form == "chat")
        if of_score and not question.is_right(answer) and answer.edit_id in batch:
            found[answer.edit_id] = RejectedEdit(
                f"{name}: it answers {question.text[:100]!r} with {answer.text[:100]!r}, "
                f"not {question.expected[:100]!r}",
                {name: right, "score": answer.score},
            )
    return found
