"""Capacity-constrained assignment of vectors to batches near their cluster's centre, and the merging of small batches."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planners.clustering import Labels, group_means, repeatable
from planners.embedding import Vectors, unit

MAX_ROUNDS = 8  # in which the unassigned try the nearest centre with capacity left, before they go anywhere
ROWS = 4_096  # vectors compared with all centres at once: bounds memory at 100,000 edits


def assign_to_batches(vectors: Vectors, labels: Labels, *, capacity: int, seed: int = 0) -> Labels:
    """Batch numbers 0..b-1, one per vector; no batch is empty or holds more than `capacity`.

    A cluster over the capacity is split. Every vector tries its own centre first, and then in each round the
    nearest one with capacity left; a centre accepts the nearest of those that try until it is full. So a vector
    leaves its cluster only when nearer ones filled it.
    """
    labels = _split(vectors, labels, capacity, seed)
    centres = unit(group_means(vectors, labels))
    lacking = -(-len(vectors) // capacity) - len(centres)  # equal vectors cannot be split
    if lacking > 0:
        largest = np.argsort(-np.bincount(labels), kind="stable")
        centres = np.concatenate([centres, centres[np.resize(largest, lacking)]])
    capacity_left = np.full(len(centres), capacity)
    assigned = np.full(len(vectors), -1, dtype=np.intp)
    closeness = np.einsum("nd,nd->n", vectors, centres[labels])
    _assign_round(np.arange(len(vectors)), labels, closeness, capacity_left, assigned)
    for _ in range(MAX_ROUNDS):
        unassigned = np.flatnonzero(assigned < 0)
        if len(unassigned) == 0:
            break
        free = np.flatnonzero(capacity_left > 0)
        wanted, closeness = _nearest(vectors[unassigned], centres[free])
        _assign_round(unassigned, free[wanted], closeness, capacity_left, assigned)
    left = np.flatnonzero(assigned < 0)
    assigned[left] = np.repeat(np.arange(len(capacity_left)), capacity_left)[: len(left)]
    return np.unique(assigned, return_inverse=True)[1].astype(np.intp)


def merge_batches(vectors: Vectors, parts: Sequence[Labels], *, capacity: int, target: int) -> list[Labels]:
    """The same parts, the smallest merged with the nearest that has capacity, until there are `target` or none fits.

    Each batch costs a publication, and LEMoE's shard costs the same for few edits as for many.
    """
    members = [[part] for part in parts]
    sums = np.stack([vectors[part].sum(axis=0) for part in parts])
    centres = unit(sums)
    sizes = np.array([len(part) for part in parts])
    closed = np.zeros(len(parts), dtype=bool)  # merged into another, or too large for any
    left = len(parts)
    while left > target and not closed.all():
        small = int(np.where(closed, capacity + 1, sizes).argmin())
        fits = (sizes > 0) & (sizes + sizes[small] <= capacity)
        fits[small] = False
        closed[small] = True
        if not fits.any():
            continue
        near = int(np.where(fits, centres @ centres[small], -np.inf).argmax())
        members[near] += members[small]
        sums[near] += sums[small]
        centres[near] = unit(sums[near : near + 1])[0]
        sizes[near] += sizes[small]
        members[small], sizes[small] = [], 0
        closed[near] = False
        left -= 1
    return [np.sort(np.concatenate(part)) for part in members if part]


def _split(vectors: Vectors, labels: Labels, capacity: int, seed: int) -> Labels:
    """The same clusters, those that no batch can hold split into several that can, by k-means."""
    from sklearn.cluster import KMeans

    sizes = np.bincount(labels)
    too_large = np.flatnonzero(sizes > capacity)
    if len(too_large) == 0:
        return labels
    split = labels.copy()
    following = len(sizes)
    with repeatable():
        for number in too_large:
            members = np.flatnonzero(labels == number)
            parts = -(-len(members) // capacity)
            part = KMeans(parts, random_state=seed, n_init=1, max_iter=10).fit_predict(vectors[members])
            split[members] = np.where(part == 0, number, following + part - 1)
            following += parts - 1
    return np.unique(split, return_inverse=True)[1].astype(np.intp)


def _nearest(vectors: Vectors, centres: Vectors) -> tuple[Labels, NDArray[np.float32]]:
    """The nearest centre of each vector, and how alike they are (cosine)."""
    numbers = np.empty(len(vectors), dtype=np.intp)
    closeness = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), ROWS):
        likeness = vectors[start : start + ROWS] @ centres.T
        best = likeness.argmax(axis=1)
        numbers[start : start + ROWS] = best
        closeness[start : start + ROWS] = np.take_along_axis(likeness, best[:, None], axis=1)[:, 0]
    return numbers, closeness


def _assign_round(
    unassigned: Labels,
    wanted: Labels,
    closeness: NDArray[np.float32],
    capacity_left: NDArray[np.intp],
    assigned: Labels,
) -> None:
    """Assign, nearest first, those whose wanted centre has capacity; changes `capacity_left` and `assigned`."""
    order = np.lexsort((unassigned, -closeness, wanted))
    unassigned, wanted = unassigned[order], wanted[order]
    first_of_centre = np.searchsorted(wanted, wanted, side="left")
    rank = np.arange(len(wanted)) - first_of_centre
    taken = rank < capacity_left[wanted]
    assigned[unassigned[taken]] = wanted[taken]
    capacity_left -= np.bincount(wanted[taken], minlength=len(capacity_left))
