"""The trial of a batch: train, verify, try again what failed, and verify what is left as it would be published."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from daemon.events.templates import Templates
from daemon.ledger import Ledger
from daemon.ledger.values import Edit, EditState, RejectedEdit
from daemon.served_model import ServedModel
from daemon.settings.settings import Settings
from daemon.work.decision import UnexplainedFault
from daemon.work.verify import Verification, Verifier
from editors.base.devices import device_errors
from editors.methods.registry import build_editor
from editors.methods.scen.settings import ScenSettings
from editors.store.shards import Shard
from edits.errors import BadRequest
from edits.ids import EditId
from edits.names.everyday import all_far_texts
from edits.recency import by_arrival, may_be_one_fact
from edits.requests import EditRequest
from monitoring.metrics.process_metrics import Metrics

# An edit that its batch's editor failed on gets an expert of its own before it is rejected.
SECOND_EDITOR = "scen"
# Live edits whose subjects the batch's own names contain, asked in addition to the sample.
MAX_NEIGHBOURS = 256


@dataclass(frozen=True, slots=True)
class Part:
    """A shard and the edits that it carries."""

    shard: Shard
    edits: tuple[Edit, ...]

    def only(self, ids: set[EditId]) -> "Part | None":
        """The part with these edits alone; None where none of them is in it."""
        chosen = tuple(edit for edit in self.edits if edit.id in ids)
        return Part(self.shard.keep([edit.id for edit in chosen]), chosen) if chosen else None


@dataclass(frozen=True, slots=True)
class TrainedBatch:
    """A batch's shards, which nobody may be served by yet, and the edits that this base cannot take in."""

    parts: tuple[Part, ...] = ()
    rejected: Mapping[EditId, RejectedEdit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerifiedBatch:
    """What may be published on top of one generation: its parts were verified together in just this form.

    Attributes:
        scores: 0..1 by name; None where there was nothing to ask.
        generation: on top of which it was verified; on top of another it is verified again.
        duplicates: edit -> others that ask what it asks.
    """

    parts: tuple[Part, ...]
    rejected: Mapping[EditId, RejectedEdit]
    scores: Mapping[str, float | None]
    generation: int
    duplicates: Mapping[EditId, frozenset[EditId]]


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
        self._verifier = Verifier(
            settings.verify,
            max_new_tokens=settings.model.max_new_tokens,
            far_texts=tuple(all_far_texts()),
        )

    def train(self, editor: str, edits: Sequence[Edit]) -> TrainedBatch | VerifiedBatch:
        """Train a batch, and what fails once more as experts of their own; verified already where nothing failed.

        Raises:
            TemporaryError: the device or the ledger is unwell.
        """
        unusable = self._unusable(edits)
        tables = self._settings.editors.tables
        second = self._second_settings()
        first = self._trained(editor, tables.get(editor), [e for e in edits if e.id not in unusable])
        # In a paper's mode SCEN has no other settings for a second attempt: it would end like the first.
        if not first or (editor, tables.get(editor)) == (SECOND_EDITOR, second):
            return TrainedBatch(tuple(first), unusable)
        duplicates = self._duplicates(first)
        verification = self._verification(first, duplicates, editor)
        if not verification.failed and verification.fault is None:
            return self._verified(first, unusable, verification, duplicates)
        again = [edit for edit in edits if edit.id in verification.failed]
        parts = (*_passed(first, verification), *self._trained(SECOND_EDITOR, second, again))
        return TrainedBatch(parts, unusable)

    def verify(self, batch: TrainedBatch | VerifiedBatch, editor: str) -> VerifiedBatch:
        """Verify together what would be published together; who fails is left out, until nobody does.

        Raises:
            UnexplainedFault: a floor is missed and no edit of the batch is the cause.
            TemporaryError: the device or the ledger is unwell.
        """
        if isinstance(batch, VerifiedBatch) and batch.generation == self._model.generation:
            return batch
        parts, rejected = list(batch.parts), dict(batch.rejected)
        while parts:
            duplicates = self._duplicates(parts)
            verification = self._verification(parts, duplicates, editor)
            if verification.fault is not None:
                raise UnexplainedFault(verification.fault)
            if not verification.failed:
                return self._verified(parts, rejected, verification, duplicates)
            rejected |= verification.failed
            parts = _passed(parts, verification)
        return VerifiedBatch((), rejected, {}, self._model.generation, {})

    def _verified(
        self,
        parts: Sequence[Part],
        rejected: Mapping[EditId, RejectedEdit],
        verification: Verification,
        duplicates: Mapping[EditId, Sequence[Edit]],
    ) -> VerifiedBatch:
        ids = {one: frozenset(other.id for other in others) for one, others in duplicates.items()}
        return VerifiedBatch(tuple(parts), rejected, verification.scores, self._model.generation, ids)

    def _second_settings(self) -> dict[str, int | float | str | bool]:
        """Of facts that are trained once more: in default mode with more steps and to a smaller loss."""
        given = self._settings.editors.scen
        settings = build_editor(SECOND_EDITOR, given).settings
        return {**given, **(settings.second_attempt if isinstance(settings, ScenSettings) else {})}

    def _trained(
        self, editor: str, settings: Mapping[str, int | float | str | bool] | None, edits: Sequence[Edit]
    ) -> list[Part]:
        if not edits:
            return []
        requests = [self._request(edit) for edit in edits]
        with self._timed(editor, "train"), device_errors():
            edited = self._model.edited
            shard = build_editor(editor, settings).apply(requests, base=edited.base, parent=edited)
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

    def _duplicates(self, parts: Sequence[Part]) -> dict[EditId, list[Edit]]:
        """For each edit, others of the batch or live that ask the same of the same subject in other words.

        The scope index finds them; of two edits that name their relation, the relation has decided already.
        """
        shards = [part.shard for part in parts]
        with self._model.edited.candidate(shards):
            found = {
                edit_id: set(others)
                for shard in shards
                for edit_id, others in self._model.edited.duplicate_questions(shard).items()
            }
        edits = {edit.id: edit for part in parts for edit in part.edits}
        unknown = by_arrival(set().union(*found.values()) - edits.keys())
        edits |= {edit.id: edit for edit in self._ledger.generations.live_among(unknown)}
        return {
            one: [
                edits[other]
                for other in others
                if other in edits and may_be_one_fact(edits[one], edits[other])
            ]
            for one, others in found.items()
        }

    def _verification(
        self, parts: Sequence[Part], duplicates: Mapping[EditId, Sequence[Edit]], editor: str
    ) -> Verification:
        edits = [edit for part in parts for edit in part.edits]
        with self._timed(editor, "verify"), device_errors():
            return self._verifier.check(
                self._model.edited,
                [part.shard for part in parts],
                edits,
                replaced=self._replaced(edits, duplicates),
                earlier=self._earlier(edits),
            )

    def _replaced(self, edits: Sequence[Edit], duplicates: Mapping[EditId, Sequence[Edit]]) -> list[EditId]:
        """Live edits that the batch would end: rivals by fact or prompt, and older ones that ask the same."""
        rivals = self._ledger.plans.rivals(edits)
        older = (
            other for edit in edits for other in duplicates.get(edit.id, ()) if other.recency < edit.recency
        )
        live = {edit.id for edit in (*rivals, *older) if edit.state is EditState.LIVE}
        return by_arrival(live)

    def _earlier(self, edits: Sequence[Edit]) -> list[Edit]:
        """Live edits to ask again: a sample, and those whose subject is part of a name that the batch brings."""
        count = self._settings.verify.retention_sample
        sample = self._ledger.samples.live(count, seed=self._model.generation)
        names = {form for edit in edits for form in (edit.subject, *edit.event.aliases)}
        near = by_arrival({edit_id for name in names for edit_id in self._model.edited.named(name)})
        known = {edit.id for edit in sample}
        neighbours = self._ledger.generations.live_among(
            [i for i in near if i not in known][-MAX_NEIGHBOURS:]
        )
        # The ledger may be ahead of the model: what it does not have yet says nothing about it.
        live = self._model.edited.live
        return [edit for edit in (*sample, *neighbours) if edit.id in live]

    def _unusable(self, edits: Sequence[Edit]) -> dict[EditId, RejectedEdit]:
        """Edits that this base cannot take in at all: too long for its context or for an answer."""
        unusable: dict[EditId, RejectedEdit] = {}
        base, longest = self._model.edited.base, self._settings.model.max_new_tokens
        for edit in edits:
            request = edit.request()
            try:
                tokens = len(base.answer_ids(request.prompt, request.target_new)) - 1
            except BadRequest as error:
                unusable[edit.id] = RejectedEdit(str(error))
                continue
            if tokens > longest:
                reason = f"target_new has {tokens} tokens, model.max_new_tokens is {longest}"
                unusable[edit.id] = RejectedEdit(reason)
        return unusable

    @contextmanager
    def _timed(self, editor: str, stage: str) -> Iterator[None]:
        with self._metrics.batch_duration.labels(editor, stage).time():
            yield


def _passed(parts: Sequence[Part], verification: Verification) -> list[Part]:
    """The parts without the edits that failed."""
    ids = set(verification.passed)
    return [passed for part in parts if (passed := part.only(ids)) is not None]
