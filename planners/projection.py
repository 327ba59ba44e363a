"""The 2-D projection of a plan's edits, for the plot that shows which of them lie close together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planners.clustering import Labels
from planners.embedding import Vectors
from planners.values import Pending, ProjectionPoint

POINTS = 3_000  # more could not be told apart


def project(
    edits: Sequence[Pending], vectors: Vectors, batches: Labels, *, first: int
) -> tuple[ProjectionPoint, ...]:
    """Points along the two directions in which the edits differ most (principal components).

    Of many edits a sample, in which every batch has at least one; a batch's first sequence is `first`.
    """
    shown = _spread(batches)
    places = _plane(vectors[shown].astype(np.float64))
    return tuple(
        ProjectionPoint(
            edits[int(i)].edit_id, first + int(batches[i]), round(float(x), 4), round(float(y), 4)
        )
        for i, (x, y) in zip(shown, places, strict=True)
    )


def _plane(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2): the vectors along their first two principal components."""
    centred = vectors - vectors.mean(axis=0)
    if len(centred) < centred.shape[1]:
        values, rows = np.linalg.eigh(centred @ centred.T)
        places = rows[:, ::-1][:, :2] * np.sqrt(np.maximum(values[::-1][:2], 0.0))
    else:
        places = centred @ np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    # A direction and its opposite are the same component: take the one with the largest place positive.
    largest = places[np.abs(places).argmax(axis=0), [0, 1]]
    return np.asarray(places * np.where(largest < 0, -1.0, 1.0))


def _spread(batches: Labels) -> Labels:
    """All edits, or the first few of each batch."""
    if len(batches) <= POINTS:
        return np.arange(len(batches))
    order = np.argsort(batches, kind="stable")
    ranked = batches[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked, side="left")
    return np.sort(order[rank < max(1, POINTS // (int(batches.max()) + 1))])
