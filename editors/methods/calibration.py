"""What the scope index keeps of each edit, with thresholds that are measured, not set by hand.

*By text* (`editors.index`): the edit's own question and its known phrasings as vectors, and the log odds that at most
`target_false_fire` of a bank of questions of all kinds reaches; no base is asked, and a batch of one is like any other.

*By the base*, once for every batch, however many edits are live:

* must fire: a request's own prompt behind unrelated text, and its own rephrases;
* must not fire: its subject mentioned in passing, another question about its subject (of another request, of the
  corpus), and its own locality prompts;
* its own prompt with one word of the name taken out: where the base answers as before, that word is firm (`names.near`).

A sample tells how far the base's agreement separates the two (`Agreement`); where it does not, nothing more is asked of it.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from editors.base.base import Base
from editors.index.entries import TextEntries, text_entries
from editors.index.learning.corpus import named, read_corpus
from editors.index.names.near import LEAST_COVERAGE, MIN_COVERAGE_ALONE, NearNames, name_words
from editors.index.names.surface import SurfaceIndex, words_of
from editors.methods.training import OPENINGS, other_question
from editors.routing.agreement import SURE, Reading, ScopeKey, make_keys, read_pairs
from editors.routing.parent import ParentModel
from editors.store.derived_index import TEXT_VECTORS
from editors.store.header import MAX_ANSWER_TOKENS, Agreement, Calibration, IndexedQuestion, ShardEntry
from editors.store.shards import STORED_DTYPE, prompt_sha256
from edits.requests import EditRequest

SAMPLE = 10  # edits of a batch that the batch's threshold is measured on
MOST_FIRM_TESTS = 6  # words of a name that are taken out in turn; of a longer name all words are firm
PASSING = (
    "A letter about {subject} came late, and the answer was",
    "After the talk on {subject} everybody went home by",
    "We spoke of {subject} for an hour; the tea that we had was",
)
# A single word cannot be taken out of its prompt: another one stands in for it.
STAND_IN = "Marlin"


# Of the corpus so many questions are asked of each sampled subject.
OTHER_QUESTIONS = 3
# From this weight on, agreement is worth its passes.
LEAST_WEIGHT = 0.25


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a shard keeps for the index: entries, the texts they are known by, tensors, and how the thresholds were found."""

    entries: tuple[ShardEntry, ...]
    questions: tuple[IndexedQuestion, ...]
    tensors: Mapping[str, Tensor]
    calibration: Calibration
    encoder_hash: str | None


@dataclass(frozen=True, slots=True)
class _Trial:
    """A prompt read against one edit: what the index must say to it; `shared` trials set the batch's threshold."""

    edit: int
    prompt: str
    must_fire: bool
    shared: bool
    word: str | None = None  # the word of the name that was taken out
    other: bool = False  # another request's question: out of scope only where the base answers otherwise


@dataclass(frozen=True, slots=True)
class _Scored:
    """A trial as it came out."""

    trial: _Trial
    agrees: bool
    score: float


def scopes(
    base: Base,
    requests: Sequence[EditRequest],
    *,
    parent: ParentModel | None = None,
    max_answer_tokens: int,
    target_false_fire: float,
    seed: int,
) -> Scopes:
    """Read a batch and find its thresholds.

    Args:
        parent: the model that the edits will join; its matcher reads the text, its edits tell how the base agreed before.
        target_false_fire: share of prompts out of scope, though they name the subject, that may fire (0..1).
    """
    matcher = None if parent is None else parent.matcher
    text = None if matcher is None else text_entries(requests, matcher, target_false_fire=target_false_fire)
    sampled = _sampled(len(requests), seed)
    trials = [trial for trial in _trials(requests, sampled, seed) if base.fits(trial.prompt)]
    asked = range(len(requests))
    keys: dict[int, ScopeKey] = {}
    read: dict[_Trial, Reading] = {}
    agreement = Agreement() if parent is None else parent.agreement
    if text is not None:  # is it worth asking the base for more than the sample?
        keys = _keys(base, requests, sampled, max_answer_tokens)
        shared = [trial for trial in trials if trial.shared and keys[trial.edit].confidence >= SURE]
        read = _read(base, shared, keys)
        agreement += _agreement(read)
        asked = asked if agreement.weight >= LEAST_WEIGHT else range(0)
    keys |= _keys(base, requests, [edit for edit in asked if edit not in keys], max_answer_tokens)
    trials = trials if asked else []
    read |= _read(base, [trial for trial in trials if trial not in read], keys)
    readings = [read[trial] for trial in trials]
    return _measured(
        base, requests, keys if asked else {}, trials, readings, text, agreement, target_false_fire
    )


def _measured(
    base: Base,
    requests: Sequence[EditRequest],
    keys: Mapping[int, ScopeKey],
    trials: Sequence[_Trial],
    readings: Sequence[Reading],
    text: TextEntries | None,
    agreement: Agreement,
    target_false_fire: float,
) -> Scopes:
    """What is kept, the base having been asked for `keys`: those of all requests, or of none."""
    firm = _firm_words(requests, trials, readings)
    scored = [
        _Scored(trial, reading.agrees, reading.score(keys[trial.edit].confidence))
        for trial, reading in zip(trials, readings, strict=True)
        if trial.word is None and not (trial.other and reading.agrees)
    ]
    fire = [one.score for one in scored if one.trial.shared and one.trial.must_fire]
    must_not = [one for one in scored if one.trial.shared and not one.trial.must_fire]
    stay = [one.score for one in must_not]
    # Where the base answers as to the edit's own prompt, no threshold parts the two: it is told, but sets none.
    parted = [one.score for one in must_not if not one.agrees]
    shared = threshold_between(fire, parted, target_false_fire=target_false_fire)
    entries = tuple(
        ShardEntry(
            edit_id=request.edit_id,
            surface_forms=request.surface_forms,
            base_answer_ids=keys[edit].base_answer_ids if edit in keys else (),
            confidence=keys[edit].confidence if edit in keys else 0.0,
            threshold=_own_threshold(edit, scored, shared),
            near_name=_near_name(request) if text is not None or keys[edit].confidence >= SURE else None,
            firm_words=tuple(sorted(firm[edit])) if edit in keys else (),
            prompt_sha256=prompt_sha256(request.prompt),
            answer_ids=tuple(base.answer_ids(request.prompt, request.target_new)[:MAX_ANSWER_TOKENS]),
            relation=None if text is None else text.relations[edit],
            odds=None if text is None else text.odds[edit],
        )
        for edit, request in enumerate(requests)
    )
    calibration = Calibration(
        target_false_fire=target_false_fire,
        threshold=shared,
        near_coverage=_near_coverage(base, requests, entries, keys),
        negatives=len(stay),
        false_fire=sum(score >= shared for score in stay) / len(stay) if stay else None,
        positives=len(fire),
        miss=sum(score < shared for score in fire) / len(fire) if fire else None,
        agreement=agreement,
    )
    if text is None:
        states = [key.key for _, key in sorted(keys.items()) if key.key is not None]
        return Scopes(entries, (), {"scope.key": torch.stack(states).to(STORED_DTYPE)}, calibration, None)
    vectors = {TEXT_VECTORS: text.vectors.to(STORED_DTYPE)}
    return Scopes(entries, text.questions, vectors, calibration, text.encoder_hash)


def _keys(
    base: Base, requests: Sequence[EditRequest], edits: Sequence[int], max_answer_tokens: int
) -> dict[int, ScopeKey]:
    prompts = [requests[edit].prompt for edit in edits]
    return dict(zip(edits, make_keys(base, prompts, max_answer_tokens=max_answer_tokens), strict=True))


def _read(base: Base, trials: Sequence[_Trial], keys: Mapping[int, ScopeKey]) -> dict[_Trial, Reading]:
    pairs = [(trial.prompt, keys[trial.edit]) for trial in trials]
    return dict(zip(trials, read_pairs(base, pairs), strict=True))


def _agreement(read: Mapping[_Trial, Reading]) -> Agreement:
    """How often the base gave the edit's own answer, over trials of edits whose answer it was sure of."""
    same = [reading.agrees for trial, reading in read.items() if trial.must_fire]
    other = [reading.agrees for trial, reading in read.items() if not trial.must_fire]
    return Agreement(same=len(same), same_agreed=sum(same), other=len(other), other_agreed=sum(other))


def _sampled(count: int, seed: int) -> list[int]:
    """The edits of a batch that its measurements are made on."""
    return sorted(random.Random(seed).sample(range(count), min(SAMPLE, count)))  # noqa: S311 - repeatable choice


@cache
def _other_questions() -> tuple[str, ...]:
    """Questions of many relations, `x` in place of the name."""
    return tuple(relation.phrasings[0] for relation in read_corpus().relations)


def threshold_between(
    must_fire: Sequence[float], must_not: Sequence[float], *, target_false_fire: float
) -> float:
    """Half way between the highest score that may not fire and the lowest that must and lies above it.

    Where the two overlap, what must not change wins: a wrong answer to another question is worse than an old one.
    """
    allowed = int(target_false_fire * len(must_not))
    low = max([0.0, *sorted(must_not, reverse=True)[allowed : allowed + 1]])
    high = min((score for score in must_fire if score > low), default=1.0)
    return min(0.999, (low + high) / 2)


def _trials(requests: Sequence[EditRequest], sampled: Sequence[int], seed: int) -> Iterator[_Trial]:
    rng = random.Random(seed)  # noqa: S311 - repeatable choice, no secret
    for edit, request in enumerate(requests):
        own = SurfaceIndex()
        own.add(request.edit_id, request.surface_forms)
        for prompts, fires in ((request.rephrase_prompts, True), (request.locality_prompts, False)):
            # A prompt that does not name the subject never reaches the threshold.
            yield from (_Trial(edit, prompt, fires, False) for prompt in prompts if own.find(prompt))
        for word, prompt in _without_a_word(request):
            yield _Trial(edit, prompt, False, False, word=word)
        if edit in sampled:
            yield _Trial(edit, f"{rng.choice(OPENINGS)} {request.prompt}", True, True)
            yield _Trial(edit, rng.choice(PASSING).format(subject=request.subject), False, True)
            others = [
                named(text, request.subject) for text in rng.sample(_other_questions(), OTHER_QUESTIONS)
            ]
            if (asked := other_question(request, requests, rng)) is not None:
                others.append(asked)
            # A question that happens to be the edit's own in other words must not set a threshold.
            yield from (_Trial(edit, text, False, True, other=True) for text in others)


def _near_name(request: EditRequest) -> str | None:
    """The surface form that stands in the prompt: the one whose words the base was asked about."""
    return next((form for form in request.surface_forms if form in request.prompt), None)


def _without_a_word(request: EditRequest) -> Iterator[tuple[str, str]]:
    """The prompt with each word of the name taken out in turn."""
    name = _near_name(request)
    words = name_words(name) if name is not None else ()
    if name is None or len(words) > MOST_FIRM_TESTS:
        return
    for word in words:
        if any(letter.isdigit() for letter in word):
            continue  # the numbers of a name must stand in a text anyway
        gone = re.sub(
            rf"(?i)(?<!\w){re.escape(word)}(?!\w)",
            "" if len(words) > 1 else STAND_IN,
            request.prompt,
            count=1,
        )
        prompt = " ".join(gone.split())
        if prompt and words_of(prompt) != words_of(request.prompt):
            yield word, prompt


def _firm_words(
    requests: Sequence[EditRequest],
    trials: Sequence[_Trial],
    readings: Sequence[Reading],
) -> list[set[str]]:
    """The words of each near name that the base's answer does not depend on; untested ones are firm."""
    firm = [set(name_words(name)) if (name := _near_name(request)) else set() for request in requests]
    for trial, reading in zip(trials, readings, strict=True):
        if trial.word is not None and not reading.agrees:
            firm[trial.edit].discard(trial.word)
    return firm


def _own_threshold(edit: int, scored: Sequence[_Scored], shared: float) -> float:
    mine = [one for one in scored if one.trial.edit == edit and not one.trial.shared]
    if not mine:
        return shared
    fire = [one.score for one in mine if one.trial.must_fire]
    stay = [one.score for one in mine if not one.trial.must_fire]
    if max(stay, default=0.0) < shared <= min(fire, default=1.0):
        return shared
    return threshold_between(fire, stay, target_false_fire=0.0)


def _near_coverage(
    base: Base, requests: Sequence[EditRequest], entries: Sequence[ShardEntry], keys: Mapping[int, ScopeKey]
) -> float:
    """The least coverage at which no request's prompt is taken for another's by an approximate name."""
    names = NearNames()
    for edit, entry in enumerate(entries):
        if entry.near_name is not None:
            names.add(str(edit), entry.near_name, firm=entry.firm_words)
    pairs = [
        (request.prompt, int(near.edit_id), near.coverage)
        for edit, request in enumerate(requests)
        for near in names.find(request.prompt, least=LEAST_COVERAGE)
        if int(near.edit_id) != edit
        and not {*request.surface_forms} & {*requests[int(near.edit_id)].surface_forms}
    ]
    if not keys:  # nobody confirms an approximate name but the text, which is the same for all names
        return min(1.0, max([MIN_COVERAGE_ALONE, *(coverage + 0.01 for _, _, coverage in pairs)]))
    readings = read_pairs(base, [(prompt, keys[other]) for prompt, other, _ in pairs])
    wrong = [coverage for (_, _, coverage), reading in zip(pairs, readings, strict=True) if reading.agrees]
    return min(1.0, max([LEAST_COVERAGE, *(coverage + 0.01 for coverage in wrong)]))
