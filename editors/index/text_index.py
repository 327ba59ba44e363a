"""The scope index by text: whose name stands in a prompt, and is it this edit's question that is asked?

*Who*: the surface forms of the edits' subjects (`editors.surface`), and names that are almost there (`editors.names`).
*What*: the part of the prompt that asks, with the name masked, against the edit's own question and every phrasing known of
its relation
(`editors.index.matcher`). Neither needs the base, so the same index stands in front of an engine that Upkeep does not run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from editors.index.head import Questions, joined
from editors.index.matcher import QuestionMatcher
from editors.index.questions import readings
from editors.index.relations import RelationPhrasings
from editors.index.vectors import VectorRows
from editors.prompts import Prompt, user_turns
from editors.shards import Shard
from editors.surface import Words

# Of a conversation so many turns are looked at, the latest.
MAX_TURNS = 8


@dataclass(frozen=True, slots=True)
class IndexedEdit:
    """What the index knows of one edit.

    Attributes:
        own: places of the vectors of its own question and of the phrasings that came with it.
        relation: its relation; None where the event named none.
        phrasings: masked texts that it adds to what is known of its relation, with their vectors.
        odds: log odds from which a prompt asks it.
    """

    own: VectorRows
    relation: str | None
    phrasings: tuple[tuple[str, VectorRows], ...]
    odds: float


@dataclass(frozen=True, slots=True)
class TextPair:
    """A prompt, an edit that it may be about, and what stands there for the name of its subject."""

    prompt: Prompt
    edit_id: str
    names: tuple[Words, ...]


class TextIndex:
    """The questions of edits, and how surely a prompt asks them."""

    def __init__(self, matcher: QuestionMatcher) -> None:
        self.matcher = matcher
        self._edits: dict[str, IndexedEdit] = {}
        self._relations = RelationPhrasings()

    def __len__(self) -> int:
        return len(self._edits)

    def __contains__(self, edit_id: str) -> bool:
        return edit_id in self._edits

    def add(self, edit_id: str, edit: IndexedEdit) -> None:
        self._edits[edit_id] = edit
        if edit.relation is not None:
            self._relations.add(edit.relation, edit.phrasings)

    def remove(self, edit_id: str) -> None:
        """Forget an edit; one that was never added is passed over."""
        edit = self._edits.pop(edit_id, None)
        if edit is not None and edit.relation is not None:
            self._relations.remove(edit.relation, (text for text, _ in edit.phrasings))

    def probabilities(self, pairs: Sequence[TextPair]) -> list[float]:
        """How surely each prompt asks the edit's question, 0..1; .5 is the edit's own threshold.

        A text is encoded once, however many edits it is compared with.
        """
        found = [readings(user_turns(pair.prompt)[-MAX_TURNS:], pair.names) for pair in pairs]
        texts = list(dict.fromkeys(text for of_pair in found for text in of_pair))
        read = self.matcher.encode(texts)
        rows = {text: n for n, text in enumerate(texts)}
        return [
            self._probability(read.rows([rows[text] for text in of_pair]), self._edits[pair.edit_id])
            if of_pair
            else 0.0
            for of_pair, pair in zip(found, pairs, strict=True)
        ]

    def asks_the_same(self, one: IndexedEdit, other: str) -> bool:
        """Whether an edit asks the fact of another one of its subject in other words, by the stricter threshold."""
        second = self._edits[other]
        odds = self.matcher.odds(one.own.read(), second.own.read())
        return float(odds.max()) >= max(one.odds, second.odds)

    def _probability(self, asked: Questions, edit: IndexedEdit) -> float:
        known = edit.own.read()
        of_relation = None if edit.relation is None else self._relations.questions(edit.relation)
        if of_relation is not None:
            known = joined([known, of_relation])
        odds = float(self.matcher.odds(asked, known).max()) - edit.odds
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))


def indexed_edit(shard: Shard, row: int) -> IndexedEdit:
    """What a shard keeps of one of its edits for this index."""
    entry, questions = shard.header.entries[row], shard.questions_by_owner
    own = questions.get(entry.edit_id, [])
    more = questions.get(("relation", entry.relation), []) if entry.relation else []
    if entry.odds is None or not own:
        raise ValueError(f"edit {entry.edit_id} has no text in its shard")
    texts = shard.header.questions
    rows = VectorRows(shard.tensors, texts, own[0], len(own))
    phrasings = (
        tuple((texts[i].text, VectorRows(shard.tensors, texts, i)) for i in (*own, *more))
        if entry.relation
        else ()
    )
    return IndexedEdit(rows, entry.relation, phrasings, entry.odds)


def turns_with_names(prompt: Prompt, find: Callable[[str], dict[str, int]]) -> tuple[str, dict[str, int]]:
    """The latest user turn that names an edited subject, with what `find` found there; the last turn where none does."""
    turns = user_turns(prompt)[-MAX_TURNS:]
    for turn in reversed(turns):
        if found := find(turn):
            return turn, found
    return (turns[-1] if turns else ""), {}
