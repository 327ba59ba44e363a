"""Why a plan looks as it does, in numbers and names that fit into JSON and on a terminal."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planners.clustering import Labels, group_means
from planners.embedding import Vectors, unit
from planners.values import Pending

NAMED_RELATIONS = 3
NEIGHBOURS = 3
# A plan's explanation is kept in the ledger: it names so many edits, and reckons the silhouette from so many.
EXPLAINED_EDITS = 200
SILHOUETTE_EDITS = 2_000
SUBJECT_CHARS = 80


def explain_lane(
    edits: Sequence[Pending], vectors: Vectors, clusters: Labels, batches: Labels, *, first: int, seed: int
) -> dict[str, Any]:
    """What the clustering gave: see docs/planning.md for the keys.

    `clusters` and `batches` number the cluster and the batch of each edit, batches in the plan's order; the first
    of them has the sequence `first` in the plan.
    """
    generator = np.random.default_rng(seed)
    asked = _sample(generator, len(edits), SILHOUETTE_EDITS)
    width = silhouettes(vectors, batches, asked)
    return {
        "clusters": int(clusters.max()) + 1,
        **similarities(vectors, batches),
        "silhouette": None if width is None else round(float(width.mean()), 4),
        "batches": batch_notes(edits, vectors, batches, first=first),
        "edits_explained": neighbours(
            edits, vectors, clusters, batches, _sample(generator, len(edits), EXPLAINED_EDITS), first=first
        ),
    }


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


def silhouettes(vectors: Vectors, labels: Labels, asked: Labels) -> NDArray[np.float64] | None:
    """The silhouette -1..1 of each edit asked for, by cosine distance to all edits; None with one batch alone.

    (b - a) / max(a, b), with a the mean distance to the others of its batch and b that to the nearest other batch;
    0 for an edit alone in its batch. Mean distances follow from the batches' sums, so nothing is compared in pairs.
    """
    counts = np.bincount(labels).astype(np.float64)
    if len(counts) < 2:
        return None
    mine, row = labels[asked], np.arange(len(asked))
    distance = 1.0 - (vectors[asked] @ group_means(vectors, labels).T).astype(np.float64)  # (asked, batches)
    to_itself = 1.0 - np.square(vectors[asked], dtype=np.float64).sum(axis=1)
    others = counts[mine] - 1.0
    inside = (distance[row, mine] * counts[mine] - to_itself) / np.maximum(others, 1.0)
    distance[row, mine] = np.inf
    outside = distance.min(axis=1)
    largest = np.maximum(np.maximum(inside, outside), 1e-6)
    return np.asarray(np.where(others > 0, (outside - inside) / largest, 0.0).clip(-1.0, 1.0))


def batch_notes(
    edits: Sequence[Pending], vectors: Vectors, batches: Labels, *, first: int
) -> list[dict[str, Any]]:
    """One note per batch, in the plan's order: its `sequence` in the plan, `size`, `within` similarity, the
    sequence of the `nearest` batch and their `nearest_similarity`, and its commonest `relations` with their counts.
    """
    means = group_means(vectors, batches)
    counts = np.bincount(batches).astype(np.float64)
    own = np.bincount(batches, weights=np.square(vectors, dtype=np.float64).sum(axis=1))
    inside = np.square(means.astype(np.float64) * counts[:, None]).sum(axis=1) - own
    centres = unit(means)
    relations: list[Counter[str]] = [Counter() for _ in counts]
    for edit, batch in zip(edits, batches.tolist(), strict=True):
        relations[batch][edit.relation or "(none)"] += 1
    notes = []
    for number, size in enumerate(counts):
        likeness = centres @ centres[number]
        likeness[number] = -np.inf
        nearest = int(np.argmax(likeness)) if len(counts) > 1 else None
        named = sorted(relations[number].items(), key=lambda item: (-item[1], item[0]))[:NAMED_RELATIONS]
        notes.append(
            {
                "sequence": first + number,
                "size": int(size),
                "within": _ratio(inside[number], size * (size - 1)),
                "nearest": None if nearest is None else first + nearest,
                "nearest_similarity": None if nearest is None else round(float(likeness[nearest]), 4),
                "relations": dict(named),
            }
        )
    return notes


def neighbours(
    edits: Sequence[Pending],
    vectors: Vectors,
    clusters: Labels,
    batches: Labels,
    asked: Labels,
    *,
    first: int,
) -> list[dict[str, Any]]:
    """For each edit asked for: its batch, its cluster, its silhouette, and its nearest edits with theirs."""
    width = silhouettes(vectors, batches, asked)
    likeness = vectors[asked] @ vectors.T  # (asked, n)
    likeness[np.arange(len(asked)), asked] = -np.inf
    count = min(NEIGHBOURS, len(edits) - 1)
    nearest = (
        np.argpartition(-likeness, count - 1, axis=1)[:, :count] if count else np.empty((len(asked), 0), int)
    )
    notes = []
    for row, index in enumerate(asked.tolist()):
        ranked = sorted(nearest[row].tolist(), key=lambda other, row=row: (-likeness[row, other], other))  # type: ignore[misc]
        notes.append(
            {
                "edit": edits[index].edit_id,
                "subject": edits[index].subject[:SUBJECT_CHARS],
                "sequence": first + int(batches[index]),
                "cluster": int(clusters[index]),
                "silhouette": None if width is None else round(float(width[row]), 4),
                "nearest": [
                    {
                        "edit": edits[other].edit_id,
                        "subject": edits[other].subject[:SUBJECT_CHARS],
                        "sequence": first + int(batches[other]),
                        "similarity": round(float(likeness[row, other]), 4),
                    }
                    for other in ranked
                ],
            }
        )
    return notes


def _sample(generator: np.random.Generator, count: int, limit: int) -> Labels:
    if count <= limit:
        return np.arange(count)
    return np.sort(generator.choice(count, limit, replace=False)).astype(np.intp)


def _ratio(total: float, pairs: float) -> float | None:
    return round(float(total / pairs), 4) if pairs > 0 else None
