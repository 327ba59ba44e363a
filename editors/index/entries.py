"""What the text index keeps of a batch of edits: masked questions, their vectors, and each edit's threshold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from editors.index.head import Questions
from editors.index.matcher import QuestionMatcher
from editors.index.wording.questions import find_name, masked, masked_question
from editors.store.header import LARGEST_ODDS, IndexedQuestion
from edits.names.articles import spoken_forms
from edits.names.surface import read_text, words_of
from edits.requests import EditRequest
from edits.text import normalise

# Of one edit so many phrasings are kept, its own prompt first.
MAX_PHRASINGS = 16
MAX_TEXT = 2048  # characters of a text


@dataclass(frozen=True, slots=True)
class TextEntries:
    """A batch as the text index keeps it.

    Attributes:
        questions, vectors (m, w): the texts and what the encoder made of them, an edit's own beside each other.
        odds: by edit.
    """

    encoder_hash: str
    questions: tuple[IndexedQuestion, ...]
    vectors: Tensor
    odds: tuple[float, ...]


def text_entries(
    requests: Sequence[EditRequest], matcher: QuestionMatcher, *, target_false_fire: float
) -> TextEntries:
    """Read a batch of requests; no base is asked.

    Args:
        target_false_fire: share of questions of all kinds that may fire an edit if they name its subject (0..1).
    """
    questions = tuple(indexed_questions(requests))
    read = matcher.encode([question.text for question in questions])
    first: dict[str, int] = {}
    for row, question in enumerate(questions):
        if question.edit_id is not None:
            first.setdefault(question.edit_id, row)
    own = read.rows([first[request.edit_id] for request in requests])
    odds = thresholds(own, matcher, target_false_fire=target_false_fire)
    return TextEntries(
        matcher.hash,
        questions,
        read.vectors,
        tuple(
            _above_locality(request, own.rows([n]), odds[n], matcher) for n, request in enumerate(requests)
        ),
    )


def thresholds(own: Questions, matcher: QuestionMatcher, *, target_false_fire: float) -> list[float]:
    """The log odds from which each of these questions is asked; edits of one template share one, which is measured once."""
    first: dict[str, int] = {}
    for n, text in enumerate(own.texts):
        first.setdefault(text, n)
    measured = matcher.thresholds(own.rows(list(first.values())), target_false_fire=target_false_fire)
    found = dict(zip(first, measured.tolist(), strict=True))
    return [found[text] for text in own.texts]


def normal_relation(relation: str | None) -> str | None:
    """A relation's name as facts share it."""
    return (normalise(relation)[:512] or None) if relation else None


def indexed_questions(requests: Sequence[EditRequest]) -> Iterator[IndexedQuestion]:
    """The masked texts of a batch; no encoder is asked."""
    known: dict[tuple[str, str], None] = {}
    for request in requests:
        names, relation = spoken_forms(request.surface_forms), normal_relation(request.relation)
        texts = dict.fromkeys(
            masked_question(text, names)[:MAX_TEXT] for text in (request.prompt, *request.rephrase_prompts)
        )
        for text in list(texts)[:MAX_PHRASINGS]:
            yield IndexedQuestion(text=text, edit_id=request.edit_id, relation=relation)
        if relation is not None:
            more = (masked_question(text, names)[:MAX_TEXT] for text in request.phrasings[:MAX_PHRASINGS])
            known |= dict.fromkeys((relation, text) for text in more)
    yield from (IndexedQuestion(text=text, relation=relation) for relation, text in known)


def _above_locality(request: EditRequest, own: Questions, odds: float, matcher: QuestionMatcher) -> float:
    """An edit's threshold, raised over the prompts that its own request says must not change."""
    names = [words_of(name) for name in spoken_forms(request.surface_forms)]
    read = [(text, find_name(text, names)) for text in map(read_text, request.locality_prompts)]
    texts = [masked(text, at) for text, at in read if at]
    if not texts:
        return odds
    highest = float(matcher.odds(matcher.encode(texts), own).max())
    return min(LARGEST_ODDS, max(odds, highest + 0.1))
