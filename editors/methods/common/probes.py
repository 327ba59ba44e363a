"""The prompts that a batch's thresholds are measured on, made of its requests.

* must fire: a request's own prompt behind unrelated text, and its own rephrases;
* must not fire: its subject mentioned in passing, another question about its subject (of another request, of the
  corpus), and its own locality prompts;
* its own prompt with one word of the name taken out: where the base answers as before, that word is required (`names.near`).
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from editors.index.learning.corpus import named
from editors.methods.common.training_batch import OPENINGS, corpus_phrasings, other_question
from edits.names.naming import names_subject
from edits.names.near import name_words
from edits.names.surface import SurfaceIndex, words_of
from edits.requests import EditRequest

SAMPLE = 10  # edits of a batch that the batch's threshold is measured on
MAX_REQUIRED_WORD_PROBES = (
    6  # words of a name that are taken out in turn; of a longer name all words are required
)
PASSING = (
    "A letter about {subject} came late, and the answer was",
    "After the talk on {subject} everybody went home by",
    "We spoke of {subject} for an hour; the tea that we had was",
)
# A single word cannot be taken out of its prompt: another one stands in for it.
STAND_IN = "Marlin"
# Of the corpus so many questions are asked of each sampled subject.
OTHER_QUESTIONS = 3


@dataclass(frozen=True, slots=True)
class ScopeProbe:
    """A prompt to read against one edit.

    Attributes:
        edit: the edit's place in its batch.
        must_fire: what the index must say to it.
        shared: it sets the batch's threshold.
        word: the word of the name that was taken out.
        other: another request's question: out of scope only where the base answers otherwise.
    """

    edit: int
    prompt: str
    must_fire: bool
    shared: bool
    word: str | None = None
    other: bool = False


def sampled_edits(count: int, seed: int) -> list[int]:
    """The edits of a batch that its measurements are made on."""
    return sorted(random.Random(seed).sample(range(count), min(SAMPLE, count)))  # noqa: S311 - repeatable choice


def make_probes(requests: Sequence[EditRequest], sampled: Sequence[int], seed: int) -> Iterator[ScopeProbe]:
    """Of every request its own probes, of a sampled one those that set the batch's threshold, too."""
    rng = random.Random(seed)  # noqa: S311 - repeatable choice, no secret
    for edit, request in enumerate(requests):
        yield from _own_probes(edit, request)
        if edit in sampled:
            yield from _shared_probes(edit, requests, rng)


def near_name(request: EditRequest) -> str | None:
    """The surface form that stands in the prompt: the one whose words the base is asked about."""
    return next((form for form in request.surface_forms if names_subject(request.prompt, [form])), None)


def _own_probes(edit: int, request: EditRequest) -> Iterator[ScopeProbe]:
    own = SurfaceIndex()
    own.add(request.edit_id, request.surface_forms)
    for prompts, fires in ((request.rephrase_prompts, True), (request.locality_prompts, False)):
        # A prompt that does not name the subject never reaches the threshold.
        yield from (ScopeProbe(edit, prompt, fires, False) for prompt in prompts if own.find(prompt))
    for word, prompt in _without_a_word(request):
        yield ScopeProbe(edit, prompt, False, False, word=word)


def _shared_probes(edit: int, requests: Sequence[EditRequest], rng: random.Random) -> Iterator[ScopeProbe]:
    request = requests[edit]
    yield ScopeProbe(edit, f"{rng.choice(OPENINGS)} {request.prompt}", True, True)
    yield ScopeProbe(edit, rng.choice(PASSING).format(subject=request.subject), False, True)
    others = [named(texts[0], request.subject) for texts in rng.sample(corpus_phrasings(), OTHER_QUESTIONS)]
    if (asked := other_question(request, requests, rng)) is not None:
        others.append(asked)
    # A question that happens to be the edit's own in other words must not set a threshold.
    yield from (ScopeProbe(edit, text, False, True, other=True) for text in others)


def _without_a_word(request: EditRequest) -> Iterator[tuple[str, str]]:
    """The prompt with each word of the name taken out in turn."""
    name = near_name(request)
    words = name_words(name) if name is not None else ()
    if len(words) > MAX_REQUIRED_WORD_PROBES:
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
