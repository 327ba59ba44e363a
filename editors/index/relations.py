"""Facts of one relation share their phrasings: every phrasing known of a relation is a phrasing of each of its facts."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from editors.index.head import Questions, joined
from editors.index.matcher import QuestionMatcher
from editors.index.vectors import VectorRows

# Of a relation's phrasings so many are compared with a prompt: those that most live edits share.
MAX_PHRASINGS = 32


@dataclass(slots=True)
class _Phrasing:
    """How many live edits bring a text, and where its vector lies; None: the edit that brought that is retired."""

    rows: VectorRows | Questions | None = None
    edits: int = 0


@dataclass(slots=True)
class _Relation:
    """A relation's phrasings by text; `ranks` has the rank of each, and old ones beside it, as a heap."""

    known: dict[str, _Phrasing] = field(default_factory=dict)
    ranks: list[tuple[int, str]] = field(default_factory=list)
    chosen: Questions | None = None

    def change(self, text: str, by: int) -> None:
        """Count an edit more or less."""
        phrasing = self.known[text]
        phrasing.edits += by
        self.chosen = None
        if not phrasing.edits:
            del self.known[text]
        elif len(self.ranks) > 2 * len(self.known) + MAX_PHRASINGS:
            self.ranks = [(-one.edits, text) for text, one in self.known.items()]
            heapq.heapify(self.ranks)
        else:
            heapq.heappush(self.ranks, (-phrasing.edits, text))

    def best(self) -> list[str]:
        """The texts that most edits bring; costs what they cost, however many others there are."""
        found: dict[str, tuple[int, str]] = {}
        while self.ranks and len(found) < MAX_PHRASINGS:
            rank = heapq.heappop(self.ranks)
            phrasing = self.known.get(rank[1])
            if phrasing is not None and phrasing.edits == -rank[0]:
                found[rank[1]] = rank
        for rank in found.values():
            heapq.heappush(self.ranks, rank)
        return list(found)


class RelationPhrasings:
    """Phrasings by relation, each as long as a live edit brings it: what is taken back counts no more."""

    def __init__(self, matcher: QuestionMatcher) -> None:
        self._matcher = matcher
        self._relations: dict[str, _Relation] = {}

    def add(self, relation: str, phrasings: Iterable[tuple[str, VectorRows]]) -> None:
        """Count an edit's phrasings, each a masked text with its vector."""
        held = self._relations.setdefault(relation, _Relation())
        for text, rows in phrasings:
            phrasing = held.known.setdefault(text, _Phrasing())
            phrasing.rows = phrasing.rows or rows
            held.change(text, 1)

    def remove(self, relation: str, phrasings: Iterable[tuple[str, VectorRows]]) -> None:
        """Take back what an edit had added."""
        held = self._relations[relation]
        for text, rows in phrasings:
            phrasing = held.known[text]
            if isinstance(phrasing.rows, VectorRows) and phrasing.rows.tensors is rows.tensors:
                phrasing.rows = None  # nothing may keep that shard's files now
            held.change(text, -1)
        if not held.known:
            del self._relations[relation]

    def questions(self, relation: str) -> Questions | None:
        """The relation's phrasings, in the order of their weight; None where none is known."""
        held = self._relations.get(relation)
        if held is None:
            return None
        if held.chosen is None:
            held.chosen = joined([self._read(text, held.known[text]) for text in held.best()])
        return held.chosen

    def _read(self, text: str, phrasing: _Phrasing) -> Questions:
        if phrasing.rows is None:
            phrasing.rows = self._matcher.encode([text])
        return phrasing.rows.read() if isinstance(phrasing.rows, VectorRows) else phrasing.rows
