"""The trial of a batch: train, verify, try again what failed, and verify what is left as it would be published."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from daemon.events.templates import Templates
from daemon.ledger import Ledger
from daemon.ledger.values import Edit, EditState, RejectedEdit
from daemon.process.settings import Settings
from daemon.served_model import ServedModel
from daemon.work.verify import Verdict, Verifier
from editors.base.devices import device_errors
from editors.methods.registry import build_editor
from editors.store.shards import Shard
from edits.errors import BadRequest, PermanentError
from edits.recency import may_be_one_fact
from edits.requests import EditRequest
from monitoring.metrics import Metrics

# An edit that its batch's editor failed on gets an expert of its own before it is rejected.
SECOND_EDITOR = "scen"
# Live edits whose subjects the batch's own names contain, asked in addition to the sample.
MOST_NEIGHBOURS = 256


class UnexplainedFault(PermanentError):
    """A floor is missed though no edit of the batch is to blame: what is live, or the device, needs a look."""


@dataclass(frozen=True, slots=True)
class Part:
    """A shard and the edits that it carries."""

    shard: Shard
    edits: tuple[Edit, ...]

    def only(self, ids: set[int]) -> "Part | None":
        """The part with these edits alone; None where none of them is in it."""
        kept = tuple(edit for edit in self.edits if edit.id in ids)
        return Part(self.shard.keep([edit.edit_id for edit in kept]), kept) if kept else None


@dataclass(frozen=True, slots=True)
class Result:
    """What a batch came to, and on top of which generation it was verified together in this form (None: not yet)."""

    parts: tuple[Part, ...] = ()
    rejected: Mapping[int, RejectedEdit] = field(default_factory=dict)
    scores: Mapping[str, float | None] = field(default_factory=dict)
    verified_on: int | None = None
    same: Mapping[int, frozenset[int]] = field(default_factory=dict)  # edit -> others that ask what it asks


class Trial:
    """Trains and judges one worker's batches on its model.

    Raises:
        BadTemplates: the templates file of the settings cannot be used.
    """

    def __init__(self, settings: Settings, ledger: Ledger, model: ServedModel, metrics: Metrics) -> None:
        self._settings = settings
        self._ledger = ledger
        self._model = model
        self._metrics = metrics
        self._templates = Templates.load(settings.consumer.templates)
        self._verifier = Verifier(settings.verify, max_new_tokens=settings.model.max_new_tokens)

    def train(self, editor: str, edits: Sequence[Edit]) -> Result:
        """Train a batch, and what fails once more as experts of their own.

        Raises:
            TemporaryError: the device or the ledger is unwell.
        """
        refused = self._unusable(edits)
        first = self._trained(editor, [edit for edit in edits if edit.id not in refused])
        if not first or editor == SECOND_EDITOR:
            return Result(tuple(first), refused)
        alike = self._alike(first)
        verdict = self._judge(first, alike, editor)
        if not verdict.failed and verdict.fault is None:
            return Result(tuple(first), refused, verdict.scores, self._model.generation, _ids(alike))
        parts = [kept for part in first if (kept := part.only(set(verdict.passed)))]
        again = [edit for edit in edits if edit.id in verdict.failed]
        return Result((*parts, *self._trained(SECOND_EDITOR, again)), refused)

    def verify(self, trained: Result, editor: str) -> Result:
        """Verify together what would be published together; who fails is left out, until nobody does.

        Raises:
            UnexplainedFault: a floor is missed and no edit of the batch is the cause.
            TemporaryError: the device or the ledger is unwell.
        """
        if trained.verified_on == self._model.generation:
            return trained
        parts, rejected = list(trained.parts), dict(trained.rejected)
        scores: Mapping[str, float | None] = {}
        alike: dict[int, list[Edit]] = {}
        while parts:
            alike = self._alike(parts)
            verdict = self._judge(parts, alike, editor)
            if verdict.fault is not None:
                raise UnexplainedFault(verdict.fault)
            scores = verdict.scores
            if not verdict.failed:
                break
            rejected |= verdict.failed
            parts = [kept for part in parts if (kept := part.only(set(verdict.passed)))]
        if not parts:
            return Result((), rejected, {}, self._model.generation)
        return Result(tuple(parts), rejected, scores, self._model.generation, _ids(alike))

    def _trained(self, editor: str, edits: Sequence[Edit]) -> list[Part]:
        if not edits:
            return []
        tables = {"scen": self._settings.editors.scen, "lemoe": self._settings.editors.lemoe}
        requests = [self._request(edit) for edit in edits]
        with self._timed(editor, "train"), device_errors():
            edited = self._model.edited
            shard = build_editor(editor, tables.get(editor)).apply(requests, base=edited.base, parent=edited)
        return [Part(shard, tuple(edits))]

    def _request(self, edit: Edit) -> EditRequest:
        """The edit request, without phrasings that the base cannot read, or not answer.

        Also of an event that brings its own prompt, the templates tell how else its relation is asked for.
        """
        base, relation = self._model.edited.base, edit.relation
        known = self._templates.phrasings(relation, edit.subject) if relation is not None else ()
        request = edit.request(known)
        return replace(
            request,
            rephrase_prompts=tuple(
                p for p in request.rephrase_prompts if base.can_answer(p, request.target_new)
            ),
            locality_prompts=tuple(p for p in request.locality_prompts if base.fits(p)),
            phrasings=tuple(p for p in request.phrasings if base.fits(p)),
        )

    def _alike(self, parts: Sequence[Part]) -> dict[int, list[Edit]]:
        """For each edit, others of the batch or live that ask the same of the same subject in other words.

        The base finds them; of two edits that name their relation, the relation has decided already.
        """
        shards = [part.shard for part in parts]
        with self._model.edited.candidate(shards):
            found = {
                int(edit_id): {int(other) for other in others}
                for shard in shards
                for edit_id, others in self._model.edited.duplicate_questions(shard).items()
            }
        edits = {edit.id: edit for part in parts for edit in part.edits}
        unknown = sorted(set().union(*found.values()) - edits.keys())
        edits |= {edit.id: edit for edit in self._ledger.generations.live_among(unknown)}
        return {
            one: [
                edits[other]
                for other in others
                if other in edits and may_be_one_fact(edits[one], edits[other])
            ]
            for one, others in found.items()
        }

    def _judge(self, parts: Sequence[Part], alike: Mapping[int, Sequence[Edit]], editor: str) -> Verdict:
        edits = [edit for part in parts for edit in part.edits]
        with self._timed(editor, "verify"), device_errors():
            return self._verifier.check(
                self._model.edited,
                [part.shard for part in parts],
                edits,
                replaced=self._replaced(edits, alike),
                earlier=self._earlier(edits),
            )

    def _replaced(self, edits: Sequence[Edit], alike: Mapping[int, Sequence[Edit]]) -> list[str]:
        """Live edits that the batch would end: rivals by fact or prompt, and older ones that ask the same."""
        rivals = self._ledger.plans.rivals(edits)
        older = (other for edit in edits for other in alike.get(edit.id, ()) if other.recency < edit.recency)
        live = {edit.id for edit in (*rivals, *older) if edit.state is EditState.LIVE}
        return [str(edit_id) for edit_id in sorted(live)]

    def _earlier(self, edits: Sequence[Edit]) -> list[Edit]:
        """Live edits to ask again: a sample, and those whose subject is part of a name that the batch brings."""
        generations = self._ledger.generations
        sample = generations.live_sample(self._settings.verify.retention_sample, seed=self._model.generation)
        names = {form for edit in edits for form in (edit.subject, *edit.event.aliases)}
        near = sorted({int(edit_id) for name in names for edit_id in self._model.edited.named(name)})
        known = {edit.id for edit in sample}
        neighbours = generations.live_among([i for i in near if i not in known][-MOST_NEIGHBOURS:])
        # The ledger may be ahead of the model: what it does not have yet says nothing about it.
        live = self._model.edited.live
        return [edit for edit in (*sample, *neighbours) if edit.edit_id in live]

    def _unusable(self, edits: Sequence[Edit]) -> dict[int, RejectedEdit]:
        """Edits that this base cannot take in at all: too long for its context or for an answer."""
        refused: dict[int, RejectedEdit] = {}
        base, longest = self._model.edited.base, self._settings.model.max_new_tokens
        for edit in edits:
            request = edit.request()
            try:
                tokens = len(base.answer_ids(request.prompt, request.target_new)) - 1
            except BadRequest as error:
                refused[edit.id] = RejectedEdit(str(error))
                continue
            if tokens > longest:
                told = f"target_new has {tokens} tokens, model.max_new_tokens is {longest}"
                refused[edit.id] = RejectedEdit(told)
        return refused

    @contextmanager
    def _timed(self, editor: str, stage: str) -> Iterator[None]:
        with self._metrics.batch_duration.labels(editor, stage).time():
            yield


def _ids(alike: Mapping[int, Sequence[Edit]]) -> dict[int, frozenset[int]]:
    return {one: frozenset(other.id for other in others) for one, others in alike.items()}
