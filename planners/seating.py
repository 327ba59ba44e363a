"""Seat every vector in a batch of bounded size, as near to its own cluster's centre as there is room."""

import numpy as np
from numpy.typing import NDArray

from planners.clustering import Labels, group_means
from planners.embedding import Vectors, unit

CHOICES = 8  # how many nearest centres a vector asks before it takes any that has room
ROWS = 4_096  # vectors compared with all centres at once: bounds memory at 100,000 edits


def seat(vectors: Vectors, labels: Labels, *, capacity: int) -> Labels:
    """Batch numbers 0..b-1, one per vector; no batch is empty or holds more than `capacity`.

    In each round every unseated vector asks its next-nearest centre, and a centre takes the nearest of those
    who ask until it is full: a vector leaves its cluster only when nearer ones filled it.
    """
    centres = _centres(vectors, labels, capacity)
    room = np.full(len(centres), capacity)
    seats = np.full(len(vectors), -1, dtype=np.intp)
    choices, closeness = _nearest(vectors, centres, min(CHOICES, len(centres)))
    for turn in range(choices.shape[1]):
        waiting = np.flatnonzero(seats < 0)
        _ask(waiting, choices[waiting, turn], closeness[waiting, turn], room, seats)
    for vector in np.flatnonzero(seats < 0):
        likeness = np.where(room > 0, centres @ vectors[vector], -np.inf)
        chosen = int(np.argmax(likeness))
        seats[vector] = chosen
        room[chosen] -= 1
    return np.unique(seats, return_inverse=True)[1].astype(np.intp)


def _centres(vectors: Vectors, labels: Labels, capacity: int) -> Vectors:
    """One centre per cluster, and a second one and more for the largest while seats are lacking."""
    means = unit(group_means(vectors, labels))
    sizes = np.bincount(labels).astype(float)
    copies = np.ones(len(sizes), dtype=np.intp)
    for _ in range(-(-len(vectors) // capacity) - len(sizes)):
        copies[int(np.argmax(sizes / copies))] += 1
    return np.repeat(means, copies, axis=0)


def _nearest(vectors: Vectors, centres: Vectors, count: int) -> tuple[Labels, NDArray[np.float32]]:
    """(n, count) numbers of the nearest centres, nearest first, and how alike they are (cosine)."""
    numbers = np.empty((len(vectors), count), dtype=np.intp)
    closeness = np.empty((len(vectors), count), dtype=np.float32)
    for start in range(0, len(vectors), ROWS):
        likeness = vectors[start : start + ROWS] @ centres.T
        best = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(likeness, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        numbers[start : start + ROWS] = np.take_along_axis(best, order, axis=1)
        closeness[start : start + ROWS] = np.take_along_axis(values, order, axis=1)
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
