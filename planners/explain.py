"""Say why a plan looks as it does, in numbers and names that fit into JSON and on a terminal."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from planners.clustering import Labels, group_means
from planners.embedding import Vectors, unit
from planners.values import Pending

NAMED_RELATIONS = 3


def similarities(vectors: Vectors, labels: Labels) -> dict[str, float | None]:
    """Mean cosine of two edits of one batch (`within`) and of two edits of different batches (`between`).

    None where there are no two such edits.
    """
    counts = np.bincount(labels).astype(np.float64)
    sums = group_means(vectors, labels).astype(np.float64) * counts[:, None]
    own = np.square(vectors, dtype=np.float64).sum()
    inside = np.square(sums).sum()
    everything = np.square(sums.sum(axis=0)).sum()
    return {
        "within": _ratio(inside - own, np.square(counts).sum() - counts.sum()),
        "between": _ratio(everything - inside, counts.sum() ** 2 - np.square(counts).sum()),
    }


def batch_notes(
    members: Sequence[Sequence[Pending]], vectors: Sequence[Vectors], *, first: int
) -> list[dict[str, Any]]:
    """One note per batch, in the plan's order: its `sequence` in the plan (from `first` on), `size`, `within`
    similarity, the sequence of the `nearest` batch and their `nearest_similarity`, and its commonest
    `relations` with their counts.
    """
    if not members:
        return []
    centres = unit(np.stack([part.mean(axis=0) for part in vectors]))
    notes = []
    for position, (edits, part) in enumerate(zip(members, vectors, strict=True)):
        likeness = centres @ centres[position]
        likeness[position] = -np.inf
        nearest = int(np.argmax(likeness)) if len(members) > 1 else None
        relations = Counter(edit.relation or "(none)" for edit in edits)
        named = sorted(relations.items(), key=lambda item: (-item[1], item[0]))[:NAMED_RELATIONS]
        notes.append(
            {
                "sequence": first + position,
                "size": len(edits),
                "within": similarities(part, np.zeros(len(part), dtype=np.intp))["within"],
                "nearest": None if nearest is None else first + nearest,
                "nearest_similarity": None if nearest is None else round(float(likeness[nearest]), 4),
                "relations": dict(named),
            }
        )
    return notes


def _ratio(total: float, pairs: float) -> float | None:
    return round(float(total / pairs), 4) if pairs > 0 else None
