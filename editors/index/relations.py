"""Relations teach each other: every phrasing known of a relation is a phrasing of each of its facts."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from editors.index.head import Questions, joined
from editors.index.vectors import VectorRows

# Of a relation's phrasings so many are compared with a prompt: those that most live edits share.
MAX_PHRASINGS = 32


@dataclass(slots=True)
class _Phrasing:
    rows: VectorRows
    edits: int = 0


class RelationPhrasings:
    """Phrasings by relation, each as long as a live edit brings it: what is taken back teaches nothing any more."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, _Phrasing]] = {}
        self._chosen: dict[str, Questions] = {}

    def add(self, relation: str, phrasings: Iterable[tuple[str, VectorRows]]) -> None:
        """Count an edit's phrasings, each a masked text with its vector."""
        known = self._known.setdefault(relation, {})
        for text, rows in phrasings:
            known.setdefault(text, _Phrasing(rows)).edits += 1
        self._chosen.pop(relation, None)

    def remove(self, relation: str, texts: Iterable[str]) -> None:
        """Take back what an edit had added."""
        known = self._known[relation]
        for text in texts:
            known[text].edits -= 1
            if not known[text].edits:
                del known[text]
        if not known:
            del self._known[relation]
        self._chosen.pop(relation, None)

    def questions(self, relation: str) -> Questions | None:
        """The relation's phrasings, in the order of their weight; None where none is known."""
        known = self._known.get(relation)
        if known is None:
            return None
        if relation not in self._chosen:
            best = heapq.nsmallest(MAX_PHRASINGS, known, key=lambda text: (-known[text].edits, text))
            self._chosen[relation] = joined([known[text].rows.read() for text in best])
        return self._chosen[relation]
