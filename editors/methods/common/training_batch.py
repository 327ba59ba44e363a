"""The training batch: which rows an editor learns for a batch of requests, in plain text and in chat."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from editors.base.base import Base
from editors.index.learning.corpus import named, read_corpus
from editors.methods.common.training_rows import Row
from edits.prompts import Conversation, Prompt, asked_in_chat
from edits.requests import EditRequest

# Unrelated openings put before a training prompt, so that an expert answers behind other text, too. Short ones teach as
# much as longer ones and are cheaper to read (docs/experiments.md).
SHORT_OPENINGS = ("It rained.", "They met.", "He left early.", "Nothing changed.")
# The same as whole sentences, as prompts have them.
OPENINGS = (
    "The weather stayed dry for most of the week.",
    "Here is another note from the same page.",
    "Two of the letters were lost in the post.",
    "It was a long meeting, and nothing was decided.",
)


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """The rows of a batch of edits, each edit's own prompt first, then its further phrasings.

    `chat` is empty for a base that is asked in plain text alone.
    """

    plain: list[Row]
    chat: list[Row]
    edits: int

    @property
    def forms(self) -> list[list[Row]]:
        """The rows of each form that there is, plain ones first."""
        return [rows for rows in (self.plain, self.chat) if rows]

    @property
    def own_first(self) -> list[Row]:
        """All rows, each edit's own prompt in each form before the others."""
        own = [row for rows in self.forms for row in rows[: self.edits]]
        return own + [row for rows in self.forms for row in rows[self.edits :]]


# Before it is tokenized: which edit a row belongs to, the prompt, the target.
_TextRow = tuple[int, Prompt, str]


def make_training_batch(
    base: Base,
    requests: Sequence[EditRequest],
    *,
    rephrases: int,
    seed: int,
    openings: int = 0,
    other_questions: int = 0,
    chat_answers: Sequence[str] = (),
    chat_rows: int = 0,
) -> TrainingBatch:
    """Rows to learn: every prompt, and per request up to so many of its own rephrases, of its prompt behind other
    text (`openings`), and of other questions about its subject (`other_questions`): the first is its own under another
    of its names, where it has one.

    What is drawn for a request depends on it and the seed alone, never on the others: one fact is learned alike in any
    company, and again after years.

    Args:
        chat_answers: what each request's answer in chat is, for a base that is asked through a template.
        chat_rows: how many of a request's rows are asked in chat, too, its own prompt first.
    """
    own: list[_TextRow] = []
    extra: list[_TextRow] = []
    for owner, request in enumerate(requests):
        rng = random.Random(f"{seed}|{request.prompt}|{request.target_new}")  # noqa: S311 - repeatable choice, no secret
        own.append((owner, request.prompt, request.target_new))
        texts = [*request.rephrase_prompts[:rephrases]]
        texts += [f"{opening} {request.prompt}" for opening in rng.sample(SHORT_OPENINGS, k=openings)]
        texts += _other_questions(request, rng, other_questions)
        # A rephrase that comes with the request must fit; what is made here may turn out too long.
        extra += [
            (owner, text, request.target_new)
            for text in texts
            if text in request.rephrase_prompts or base.can_answer(text, request.target_new)
        ]
    chat = _in_chat(base, own, extra, chat_answers, chat_rows) if base.chat and chat_rows else []
    return TrainingBatch(_tokenized(base, own + extra), _tokenized(base, chat), len(requests))


def _in_chat(
    base: Base, own: Sequence[_TextRow], extra: Sequence[_TextRow], answers: Sequence[str], count: int
) -> list[_TextRow]:
    """Of each edit so many rows as one user turn: its own prompt, then the others.

    What the template makes too long for the base is left out, but for the edit's own prompt.
    """
    rows: list[_TextRow] = [
        (owner, _through_template(base, prompt), answers[owner]) for owner, prompt, _ in own
    ]
    left = dict.fromkeys(range(len(own)), count - 1)
    for owner, prompt, _ in extra:
        asked = _through_template(base, prompt)
        if left[owner] > 0 and base.can_answer(asked, answers[owner]):
            rows.append((owner, asked, answers[owner]))
            left[owner] -= 1
    return rows


def _through_template(base: Base, prompt: Prompt) -> Conversation:
    # A prompt that a client has rendered is a conversation already.
    return base.conversation(prompt) or asked_in_chat(str(prompt))


def _tokenized(base: Base, rows: Sequence[_TextRow]) -> list[Row]:
    tokenized = []
    for owner, prompt, answer in rows:
        ids = base.prompt_ids(prompt)
        answer_ids = base.answer_ids(prompt, answer, prompt_ids=ids)
        # A template's default system message is most of a short question's tokens, and an expert learns nothing from it.
        read = base.turn_ids(prompt) if isinstance(prompt, Conversation) else ids
        tokenized.append((owner, read, answer_ids))
    return tokenized


def _other_questions(request: EditRequest, rng: random.Random, count: int) -> list[str]:
    found = []
    if request.aliases and request.subject in request.prompt:
        found.append(request.prompt.replace(request.subject, rng.choice(request.aliases)))
    for phrasings in rng.sample(corpus_phrasings(), count):
        text = named(rng.choice(phrasings), request.subject)
        found.append(text[0].upper() + text[1:])
    return found[:count]


@cache
def corpus_phrasings() -> tuple[Sequence[str], ...]:
    """Of many relations, questions and statements, `x` in place of the name."""
    return tuple(relation.phrasings for relation in read_corpus().relations)


def other_question(request: EditRequest, requests: Sequence[EditRequest], rng: random.Random) -> str | None:
    """A question that another request asks of its own subject, asked of this one's; None where it does not name it."""
    other = requests[rng.randrange(len(requests))]
    if other is request or other.subject == request.subject or other.subject not in other.prompt:
        return None
    return other.prompt.replace(other.subject, request.subject)
