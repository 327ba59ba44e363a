"""What the scope index keeps of each edit, with thresholds that are measured on the base, not set by hand.

For every batch three kinds of prompts are read with the frozen base, once, however many edits are live:

* must fire: a request's own prompt behind unrelated text, and its own rephrases;
* must not fire: its subject mentioned in passing, its subject in another request's question (where the base answers
  otherwise), and its own locality prompts;
* its own prompt with one word of the name taken out: where the base answers as before, that word is firm (`editors.names`).

The batch's threshold lets at most `target_false_fire` of what must not fire through; a request that brings rephrases or
locality prompts gets its own.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.base import Base
from editors.names import LEAST_COVERAGE, NearNames, name_words
from editors.requests import EditRequest
from editors.scope import SURE, Reading, ScopeKey, make_keys, read_pairs
from editors.shards import MAX_ANSWER_TOKENS, Calibration, ShardEntry, prompt_sha256
from editors.surface import SurfaceIndex, words_of
from editors.training import OPENINGS, other_question

SAMPLE = 10  # edits of a batch that the batch's threshold is measured on
MOST_FIRM_TESTS = 6  # words of a name that are taken out in turn; of a longer name all words are firm
PASSING = (
    "A letter about {subject} came late, and the answer was",
    "After the talk on {subject} everybody went home by",
    "We spoke of {subject} for an hour; the tea that we had was",
)
# A single word cannot be taken out of its prompt: another one stands in for it.
STAND_IN = "Marlin"


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a shard keeps for the index: entries, hidden states (n, d) and how the thresholds were found."""

    entries: tuple[ShardEntry, ...]
    keys: Tensor
    calibration: Calibration


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
    max_answer_tokens: int,
    target_false_fire: float,
    seed: int,
) -> Scopes:
    """Read a batch with the frozen base and find its thresholds.

    Args:
        target_false_fire: share of prompts out of scope, though they name the subject, that may fire (0..1).
    """
    keys = make_keys(base, [request.prompt for request in requests], max_answer_tokens=max_answer_tokens)
    trials = [trial for trial in _trials(requests, seed) if base.fits(trial.prompt)]
    readings = read_pairs(base, [(trial.prompt, keys[trial.edit]) for trial in trials])
    firm = _firm_words(requests, keys, trials, readings)
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
    thresholds = [_own_threshold(edit, scored, shared) for edit in range(len(requests))]
    names = [_near_name(request) for request in requests]
    entries = tuple(
        ShardEntry(
            edit_id=request.edit_id,
            surface_forms=request.surface_forms,
            base_answer_ids=key.base_answer_ids,
            confidence=key.confidence,
            threshold=threshold,
            near_name=name if key.confidence >= SURE else None,
            firm_words=tuple(sorted(words)),
            prompt_sha256=prompt_sha256(request.prompt),
            answer_ids=tuple(base.answer_ids(request.prompt, request.target_new)[:MAX_ANSWER_TOKENS]),
        )
        for request, key, threshold, name, words in zip(requests, keys, thresholds, names, firm, strict=True)
    )
    calibration = Calibration(
        target_false_fire=target_false_fire,
        threshold=shared,
        near_coverage=_near_coverage(base, requests, entries, keys),
        negatives=len(stay),
        false_fire=sum(score >= shared for score in stay) / len(stay) if stay else None,
        positives=len(fire),
        miss=sum(score < shared for score in fire) / len(fire) if fire else None,
    )
    return Scopes(entries, torch.stack([key.key for key in keys]), calibration)


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


def _trials(requests: Sequence[EditRequest], seed: int) -> Iterator[_Trial]:
    rng = random.Random(seed)  # noqa: S311 - repeatable choice, no secret
    chosen = set(rng.sample(range(len(requests)), min(SAMPLE, len(requests))))
    for edit, request in enumerate(requests):
        own = SurfaceIndex()
        own.add(request.edit_id, request.surface_forms)
        for prompts, fires in ((request.rephrase_prompts, True), (request.locality_prompts, False)):
            # A prompt that does not name the subject never reaches the threshold.
            yield from (_Trial(edit, prompt, fires, False) for prompt in prompts if own.find(prompt))
        for word, prompt in _without_a_word(request):
            yield _Trial(edit, prompt, False, False, word=word)
        if edit in chosen:
            yield _Trial(edit, f"{rng.choice(OPENINGS)} {request.prompt}", True, True)
            yield _Trial(edit, rng.choice(PASSING).format(subject=request.subject), False, True)
            if (asked := other_question(request, requests, rng)) is not None:
                yield _Trial(edit, asked, False, True, other=True)


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
    keys: Sequence[ScopeKey],
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
    base: Base, requests: Sequence[EditRequest], entries: Sequence[ShardEntry], keys: Sequence[ScopeKey]
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
    readings = read_pairs(base, [(prompt, keys[other]) for prompt, other, _ in pairs])
    wrong = [coverage for (_, _, coverage), reading in zip(pairs, readings, strict=True) if reading.agrees]
    return min(1.0, max([LEAST_COVERAGE, *(coverage + 0.01 for coverage in wrong)]))
