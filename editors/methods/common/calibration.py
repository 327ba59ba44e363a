"""What the scope index keeps of each edit, with thresholds that are measured, not set by hand.

*By text* (`editors.index`): the edit's own question and its known phrasings as vectors, and the log odds that at most
`target_false_fire` of a bank of questions of all kinds reaches; no base is asked, and a batch of one is like any other.

*By the base*, once for every batch, however many edits are live: it reads probes (`probes`), and thresholds (`thresholds`)
part those that must fire from those that must not. A sample tells how far the base's agreement separates the two
(`Agreement`); where it does not, nothing more is asked of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.base.base import Base
from editors.index.entries import TextEntries, indexed_questions, normal_relation, text_entries
from editors.methods.common.probes import ScopeProbe, make_probes, near_name, sampled_edits
from editors.methods.common.thresholds import ScoredProbe, own_threshold, shared_threshold
from editors.routing.agreement import Reading, ScopeKey, make_keys, read_pairs
from editors.routing.parent import ParentModel
from editors.store.derived_index import TEXT_VECTORS
from editors.store.header import Agreement, Calibration, IndexedQuestion, ShardEntry
from editors.store.shards import STORED_DTYPE, prompt_sha256
from edits.judging import share
from edits.names.near import MIN_COVERAGE, MIN_COVERAGE_ALONE, NearNames, name_words
from edits.requests import EditRequest

# Where agreement tells other questions so well, and the base is sure of such a share of the sample, it is worth its passes.
MIN_SPECIFICITY = 0.25
MIN_SURE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class CalibratedScope:
    """What a shard keeps for the index: entries, the texts they are known by, tensors, and how the thresholds were found."""

    entries: tuple[ShardEntry, ...]
    questions: tuple[IndexedQuestion, ...]
    tensors: Mapping[str, Tensor]
    calibration: Calibration
    encoder_hash: str | None


def calibrate(
    base: Base,
    requests: Sequence[EditRequest],
    *,
    parent: ParentModel | None = None,
    max_answer_tokens: int,
    target_false_fire: float,
    seed: int,
) -> CalibratedScope:
    """Read a batch and find its thresholds.

    Args:
        parent: the model that the edits will join; its matcher reads the text, its edits have how the base agreed before.
        target_false_fire: share of prompts out of scope, though they name the subject, that may fire (0..1).
    """
    matcher = None if parent is None else parent.matcher
    text = None if matcher is None else text_entries(requests, matcher, target_false_fire=target_false_fire)
    sampled = sampled_edits(len(requests), seed)
    probes = [probe for probe in make_probes(requests, sampled, seed) if base.fits(probe.prompt)]
    answers = _BaseAnswers(base, requests, max_answer_tokens)
    agreement = Agreement() if parent is None else parent.agreement
    if text is not None:
        agreement += answers.agreement(sampled, probes)
    if text is not None and (agreement.specificity < MIN_SPECIFICITY or answers.sure_share < MIN_SURE_SHARE):
        # The sample showed that nothing follows from them, or too seldom to ask for all.
        answers = _BaseAnswers(base, requests, max_answer_tokens)
    else:
        answers.ask(range(len(requests)))
        answers.read(probes)
    return _calibrated(base, requests, answers, text, agreement, target_false_fire)


class _BaseAnswers:
    """What the frozen base was asked of a batch, each thing once.

    Attributes:
        keys: by edit, its answer to the edit's own prompt; of all edits or of none, once the batch has been read.
        probes: those that were read last.
        readings: of probes against their edits.
    """

    def __init__(self, base: Base, requests: Sequence[EditRequest], max_answer_tokens: int) -> None:
        self._base, self._requests, self._max_answer_tokens = base, requests, max_answer_tokens
        self.keys: dict[int, ScopeKey] = {}
        self.probes: Sequence[ScopeProbe] = ()
        self.readings: dict[ScopeProbe, Reading] = {}

    def ask(self, edits: Iterable[int]) -> None:
        new = [edit for edit in edits if edit not in self.keys]
        prompts = [self._requests[edit].prompt for edit in new]
        keys = make_keys(self._base, prompts, max_answer_tokens=self._max_answer_tokens)
        self.keys |= dict(zip(new, keys, strict=True))

    def read(self, probes: Sequence[ScopeProbe]) -> None:
        """Read probes of edits that were asked."""
        self.probes = probes
        new = [probe for probe in probes if probe not in self.readings]
        pairs = [(probe.prompt, self.keys[probe.edit]) for probe in new]
        self.readings |= dict(zip(new, read_pairs(self._base, pairs), strict=True))

    def agreement(self, sampled: Sequence[int], probes: Sequence[ScopeProbe]) -> Agreement:
        """How often the base gave the edit's own answer, over shared probes of edits whose answer it was sure of."""
        self.ask(sampled)
        self.read([probe for probe in probes if probe.shared and self.keys[probe.edit].is_sure])
        same = [reading.is_sure for probe, reading in self.readings.items() if probe.must_fire]
        other = [reading.is_sure for probe, reading in self.readings.items() if not probe.must_fire]
        return Agreement(same=len(same), same_agreed=sum(same), other=len(other), other_agreed=sum(other))

    @property
    def sure_share(self) -> float:
        """The share of the answers so far that the base was sure of."""
        return share([key.is_sure for key in self.keys.values()]) or 0.0

    @property
    def scored(self) -> list[ScoredProbe]:
        """The probes that thresholds part."""
        return [
            ScoredProbe(probe, reading.agrees, reading.score(self.keys[probe.edit].confidence))
            for probe, reading in ((probe, self.readings[probe]) for probe in self.probes)
            if probe.word is None and not (probe.other and reading.agrees)
        ]

    def required_words(self) -> list[set[str]]:
        """By edit, the words of its near name that the base's answer depends on, and those that were not tested."""
        names = [near_name(request) for request in self._requests]
        required = [set(name_words(name)) if name else set() for name in names]
        for probe in self.probes:
            if probe.word is not None and not self.readings[probe].agrees:
                required[probe.edit].discard(probe.word)
        return required


def _calibrated(
    base: Base,
    requests: Sequence[EditRequest],
    answers: _BaseAnswers,
    text: TextEntries | None,
    agreement: Agreement,
    target_false_fire: float,
) -> CalibratedScope:
    scored = answers.scored
    shared = shared_threshold(scored, target_false_fire=target_false_fire)
    entries = _entries(base, requests, answers, text, scored, shared.value)
    calibration = Calibration(
        target_false_fire=target_false_fire,
        threshold=shared.value,
        near_coverage=_near_coverage(base, requests, entries, answers.keys),
        negatives=len(shared.must_not),
        false_fire=shared.false_fire,
        positives=len(shared.must_fire),
        miss=shared.miss,
        agreement=agreement,
    )
    if text is None:
        states = [key.key for _, key in sorted(answers.keys.items()) if key.key is not None]
        tensors = {"scope.key": torch.stack(states).to(STORED_DTYPE)}
        # By their words alone two questions can be told apart, though no prompt is compared with them.
        return CalibratedScope(entries, tuple(indexed_questions(requests)), tensors, calibration, None)
    vectors = {TEXT_VECTORS: text.vectors.to(STORED_DTYPE)}
    return CalibratedScope(entries, text.questions, vectors, calibration, text.encoder_hash)


def _entries(
    base: Base,
    requests: Sequence[EditRequest],
    answers: _BaseAnswers,
    text: TextEntries | None,
    scored: Sequence[ScoredProbe],
    shared: float,
) -> tuple[ShardEntry, ...]:
    keys, required = answers.keys, answers.required_words()
    return tuple(
        ShardEntry(
            edit_id=request.edit_id,
            surface_forms=request.surface_forms,
            base_answer_ids=keys[edit].base_answer_ids if edit in keys else (),
            confidence=keys[edit].confidence if edit in keys else 0.0,
            threshold=_threshold(
                own_threshold(edit, scored, shared), keys.get(edit), reads_text=text is not None
            ),
            near_name=near_name(request) if text is not None or keys[edit].is_sure else None,
            required_words=tuple(sorted(required[edit])) if edit in keys else (),
            prompt_sha256=prompt_sha256(request.prompt),
            relation=normal_relation(request.relation),
            odds=None if text is None else text.odds[edit],
        )
        for edit, request in enumerate(requests)
    )


def _threshold(found: float, key: ScopeKey | None, *, reads_text: bool) -> float:
    """Without the text, an edit fires where the base agrees and nowhere else: likeness alone is no reason.

    A base that was not sure of its answer, or gave none, answers other questions about the subject alike.
    """
    return found if reads_text or key is None else max(found, key.least_agreeing)


def _near_coverage(
    base: Base, requests: Sequence[EditRequest], entries: Sequence[ShardEntry], keys: Mapping[int, ScopeKey]
) -> float:
    """The least coverage at which no request's prompt is taken for another's by an approximate name."""
    names = NearNames()
    places = {request.edit_id: place for place, request in enumerate(requests)}
    for entry in entries:
        if entry.near_name is not None:
            names.add(entry.edit_id, entry.near_name, required=entry.required_words)
    pairs = [
        (request.prompt, places[near.edit_id], near.coverage)
        for request in requests
        for near in names.find(request.prompt, least=MIN_COVERAGE)
        if not {*request.surface_forms} & {*requests[places[near.edit_id]].surface_forms}
    ]
    if not keys:  # nobody confirms an approximate name but the text, which is the same for all names
        return min(1.0, max([MIN_COVERAGE_ALONE, *(coverage + 0.01 for _, _, coverage in pairs)]))
    readings = read_pairs(base, [(prompt, keys[other]) for prompt, other, _ in pairs])
    wrong = [coverage for (_, _, coverage), reading in zip(pairs, readings, strict=True) if reading.agrees]
    return min(1.0, max([MIN_COVERAGE, *(coverage + 0.01 for coverage in wrong)]))
