"""The scope index by text: whose name stands in a prompt, and is it this edit's question that is asked?

*Who*: the surface forms of the edits' subjects (`names.surface`), and names that are almost there (`names.near`).
*What*: the part of the prompt that asks, with the name masked, against the edit's own question and every phrasing known of
its relation (`editors.index.matcher`). Neither needs the base, so the same index stands in front of an engine that Upkeep
does not run.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from editors.index.encoder import MAX_TOKENS
from editors.index.head import Questions, joined
from editors.index.matcher import NEVER, QuestionMatcher
from editors.index.relations import RelationPhrasings
from editors.index.vectors import VectorRows
from editors.index.wording.questions import readings
from editors.store.shards import Shard
from edits.names.surface import Words
from edits.prompts import Prompt, user_turns

# Of a conversation so many turns are looked at, the latest.
MAX_TURNS = 8
# Of a part that may ask so many characters are compared, by their words; the encoder reads fewer.
MAX_PART = 4096
# Who names very many subjects in one long text asks about none of them alone. Of the names in a prompt, the longest first,
# so many are read that the characters of all readings, and the tokens that are encoded, stay about under these.
MAX_READ_CHARACTERS, MAX_READ_TOKENS = 1 << 17, 8 * MAX_TOKENS
# Edits whose questions are compared with a new one's in one pass of the head.
_COMPARED = 256


class IndexedEdit(Protocol):
    """One edit's place in a shard: what the index knows of it is read from there when it is asked for."""

    @property
    def shard(self) -> Shard: ...

    @property
    def row(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TextPair:
    """A prompt, an edit that it may be about, and what stands there for the name of its subject."""

    prompt: Prompt
    edit_id: str
    names: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class TextMatch:
    """How a prompt and an edit's question go together.

    Attributes:
        odds: log odds that it asks it, beyond the edit's own threshold: from 0 on it fires by its text.
        likeness: the cosine of the likest texts. The head is as sure of "the president of x" as of "the head of government
            of x" and does not rank what it takes for one question; of several edits that fire, likeness does.
    """

    odds: float
    likeness: float

    @property
    def probability(self) -> float:
        """The same as 0..1."""
        return probability(self.odds)


NO_MATCH = TextMatch(NEVER, 0.0)


@dataclass(slots=True)
class _Budget:
    """What has been read of one prompt."""

    characters: int = 0
    read: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def is_spent(self) -> bool:
        return self.characters >= MAX_READ_CHARACTERS or sum(map(len, self.read)) >= MAX_READ_TOKENS


class TextIndex:
    """The questions of edits, and how surely a prompt asks them."""

    def __init__(self, matcher: QuestionMatcher) -> None:
        self.matcher = matcher
        self._edits: dict[str, IndexedEdit] = {}
        self._relations = RelationPhrasings(matcher)

    def __len__(self) -> int:
        return len(self._edits)

    def __contains__(self, edit_id: str) -> bool:
        return edit_id in self._edits

    def add(self, edit_id: str, edit: IndexedEdit) -> None:
        """
        Raises:
            ValueError: the edit's shard has no text of it.
        """
        if not edit.shard.own_questions(edit.row):
            raise ValueError(f"edit {edit_id} has no text in its shard")
        self._edits[edit_id] = edit
        if (relation := _relation(edit)) is not None:
            self._relations.add(relation, _phrasings(edit))

    def remove(self, edit_id: str) -> None:
        """Forget an edit; one that was never added is passed over."""
        edit = self._edits.pop(edit_id, None)
        if edit is not None and (relation := _relation(edit)) is not None:
            self._relations.remove(relation, _phrasings(edit))

    def matches(self, pairs: Sequence[TextPair]) -> list[TextMatch]:
        """How well each prompt asks the edit's question.

        A prompt is read, and a text encoded, once, however many edits it is compared with.
        """
        edits: dict[tuple[Prompt, tuple[Words, ...]], list[str]] = {}
        for pair in pairs:
            edits.setdefault((pair.prompt, pair.names), []).append(pair.edit_id)
        parts_of = self._parts(edits)
        texts = list(dict.fromkeys(text for parts in parts_of.values() for text in parts))
        read = self.matcher.encode(texts)
        rows = {text: n for n, text in enumerate(texts)}
        found: dict[tuple[Prompt, str], TextMatch] = {}
        for (prompt, names), parts in parts_of.items():
            ids = edits[prompt, names]
            asked = read.rows([rows[text] for text in parts])
            matches = self._matches(asked, ids) if parts else [NO_MATCH] * len(ids)
            found |= {(prompt, edit_id): one for edit_id, one in zip(ids, matches, strict=True)}
        return [found[pair.prompt, pair.edit_id] for pair in pairs]

    def _parts(
        self, asked: Iterable[tuple[Prompt, tuple[Words, ...]]]
    ) -> dict[tuple[Prompt, tuple[Words, ...]], list[str]]:
        """`asked_parts` of each prompt and name, none where the prompt's other names have used up what is read of it."""
        found: dict[tuple[Prompt, tuple[Words, ...]], list[str]] = {}
        budgets: defaultdict[Prompt, _Budget] = defaultdict(_Budget)
        for prompt, names in asked:
            budget = budgets[prompt]
            parts = [] if budget.is_spent else asked_parts(prompt, names)
            found[prompt, names] = parts
            budget.characters += len(user_turns(prompt)[-1]) if parts else 0
            budget.read.update(self.matcher.encoder.read(parts))
        return found

    def duplicate_questions(self, one: IndexedEdit, others: Sequence[str]) -> list[str]:
        """Which of the others, of one subject, have this edit's question in other words, by the stricter threshold."""
        found: list[str] = []
        asked, least = _own(one).read(), _odds(one)
        for start in range(0, len(others), _COMPARED):
            chunk = [(edit_id, self._edits[edit_id]) for edit_id in others[start : start + _COMPARED]]
            likest = self._likest(asked, [_own(edit).read() for _, edit in chunk])
            pairs = zip(chunk, likest, strict=True)
            found += [edit_id for (edit_id, edit), (odds, _) in pairs if odds >= max(least, _odds(edit))]
        return found

    def _likest(self, asked: Questions, parts: Sequence[Questions]) -> list[tuple[float, float]]:
        """Of each part, the log odds and the cosine of its likest pairs, in one pass of the head."""
        known = joined(parts)
        odds = iter(self.matcher.odds(asked, known).amax(0).tolist())
        cosines = iter((asked.vectors @ known.vectors.T).amax(0).tolist())
        return [(max(islice(odds, len(part))), max(islice(cosines, len(part)))) for part in parts]

    def _matches(self, asked: Questions, edit_ids: Sequence[str]) -> list[TextMatch]:
        """How well the likest of the texts asks each edit's question, in one pass of the head.

        An edit is known by its own questions and by those of its relation, which may be other edits' too.
        """
        edits = [self._edits[edit_id] for edit_id in edit_ids]
        relations = [_relation(edit) for edit in edits]
        shared = {
            name: self._relations.questions(name) for name in dict.fromkeys(relations) if name is not None
        }
        of_relation = {name: questions for name, questions in shared.items() if questions is not None}
        likest = self._likest(asked, [*(_own(edit).read() for edit in edits), *of_relation.values()])
        best = dict(zip(of_relation, likest[len(edits) :], strict=True))
        matches = []
        for own, relation, edit in zip(likest, relations, edits, strict=False):
            odds, likeness = map(max, zip(own, best.get(relation, own) if relation else own, strict=True))
            matches.append(TextMatch(odds if odds == NEVER else odds - _odds(edit), likeness))
        return matches


def asked_parts(prompt: Prompt, names: Sequence[Words]) -> list[str]:
    """The parts of a prompt that may ask about a name, masked, as they are compared with the edits' questions."""
    return [part[:MAX_PART] for part in readings(user_turns(prompt)[-MAX_TURNS:], names)]


def _relation(edit: IndexedEdit) -> str | None:
    return edit.shard.header.entries[edit.row].relation


def _odds(edit: IndexedEdit) -> float:
    """Log odds from which a prompt asks it."""
    return edit.shard.header.entries[edit.row].odds or 0.0


def _own(edit: IndexedEdit) -> VectorRows:
    """The vectors of its own question and of the phrasings that came with it."""
    rows = edit.shard.own_questions(edit.row)
    return VectorRows(edit.shard.tensors, edit.shard.header.questions, rows.start, len(rows))


def _phrasings(edit: IndexedEdit) -> Iterator[tuple[str, VectorRows]]:
    """The masked texts that it adds to what is known of its relation, with their vectors."""
    relation, texts = _relation(edit), edit.shard.header.questions
    if relation is not None:
        more = edit.shard.relation_questions.get(relation, ())
        for row in (*edit.shard.own_questions(edit.row), *more):
            yield texts[row].text, VectorRows(edit.shard.tensors, texts, row)


def probability(odds: float) -> float:
    """Of log odds."""
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))


def turns_with_names(prompt: Prompt, find: Callable[[str], dict[str, int]]) -> tuple[str, dict[str, int]]:
    """The latest user turn that names an edited subject, with what `find` found there; the last turn where none does."""
    turns = user_turns(prompt)[-MAX_TURNS:]
    for turn in reversed(turns):
        if found := find(turn):
            return turn, found
    return (turns[-1] if turns else ""), {}
