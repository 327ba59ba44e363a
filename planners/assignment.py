"""Seat every vector in a batch of bounded size, as near to its own cluster's centre as there is room."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planners.clustering import Labels, group_means, repeatable
from planners.embedding import Vectors, unit

TURNS = 8  # how often the unseated ask the nearest centre that has room, before they take any seat
ROWS = 4_096  # vectors compared with all centres at once: bounds memory at 100,000 edits


def seat(vectors: Vectors, labels: Labels, *, capacity: int, seed: int = 0) -> Labels:
    """Batch numbers 0..b-1, one per vector; no batch is empty or holds more than `capacity`.

    A cluster that is too large falls into several. Every vector asks its own centre first, and then in each turn
    the nearest one that has room; a centre takes the nearest of those who ask until it is full. So a vector
    leaves its cluster only when nearer ones filled it.
    """
    labels = _split(vectors, labels, capacity, seed)
    centres = unit(group_means(vectors, labels))
    lacking = -(-len(vectors) // capacity) - len(centres)  # equal vectors cannot be split
    if lacking > 0:
        largest = np.argsort(-np.bincount(labels), kind="stable")
        centres = np.concatenate([centres, centres[np.resize(largest, lacking)]])
    room = np.full(len(centres), capacity)
    seats = np.full(len(vectors), -1, dtype=np.intp)
    closeness = np.einsum("nd,nd->n", vectors, centres[labels])
    _ask(np.arange(len(vectors)), labels, closeness, room, seats)
    for _ in range(TURNS):
        waiting = np.flatnonzero(seats < 0)
        if len(waiting) == 0:
            break
        free = np.flatnonzero(room > 0)
        asked, closeness = _nearest(vectors[waiting], centres[free])
        _ask(waiting, free[asked], closeness, room, seats)
    left = np.flatnonzero(seats < 0)
    seats[left] = np.repeat(np.arange(len(room)), room)[: len(left)]
    return np.unique(seats, return_inverse=True)[1].astype(np.intp)


def together(vectors: Vectors, parts: Sequence[Labels], *, capacity: int, aim: int) -> list[Labels]:
    """The same parts, the smallest joined with the nearest that has room, until there are `aim` or none fits.

    Each batch costs a publication, and LEMoE's shard costs the same for few edits as for many.
    """
    members = [[part] for part in parts]
    sums = np.stack([vectors[part].sum(axis=0) for part in parts])
    centres = unit(sums)
    sizes = np.array([len(part) for part in parts])
    closed = np.zeros(len(parts), dtype=bool)  # joined to another, or too large for any
    left = len(parts)
    while left > aim and not closed.all():
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
    """The same clusters, those that no batch can hold cut into several that can, by k-means."""
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


def _ask(
    waiting: Labels, asked: Labels, closeness: NDArray[np.float32], room: NDArray[np.intp], seats: Labels
) -> None:
    """Seat, nearest first, those for whom the centre they ask has room; changes `room` and `seats`."""
    order = np.lexsort((waiting, -closeness, asked))
    waiting, asked = waiting[order], asked[order]
    first_of_centre = np.searchsorted(asked, asked, side="left")
    rank = np.arange(len(asked)) - first_of_centre
    taken = rank < room[asked]
    seats[waiting[taken]] = asked[taken]
    room -= np.bincount(asked[taken], minlength=len(room))
