"""Put batches into the order in which they are trained: one function per strategy, chosen by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.embedding import Vectors
from planners.settings import Order


@dataclass(frozen=True, slots=True)
class Unordered:
    """What is known of the batches 0..b-1 before they are ordered; 0 holds the oldest edit, and so on."""

    centres: Vectors  # (b, d), of length 1
    sizes: NDArray[np.intp]
    seed: int


def order_batches(batches: Unordered, *, strategy: Order) -> list[int]:
    """The batch numbers in the order in which they shall run."""
    return ORDERS[strategy](batches)


def _arrival(batches: Unordered) -> list[int]:
    return list(range(len(batches.sizes)))


def _random(batches: Unordered) -> list[int]:
    return [int(number) for number in np.random.default_rng(batches.seed).permutation(len(batches.sizes))]


def _by_size(batches: Unordered) -> list[int]:
    return [int(number) for number in np.argsort(-batches.sizes, kind="stable")]


def _nearest(batches: Unordered) -> list[int]:
    """A chain from the oldest batch: each next one is the most like the one before it."""
    left = np.ones(len(batches.sizes), dtype=bool)
    chain = [0]
    left[0] = False
    while left.any():
        likeness = np.where(left, batches.centres @ batches.centres[chain[-1]], -np.inf)
        chain.append(int(np.argmax(likeness)))
        left[chain[-1]] = False
    return chain


def _farthest(batches: Unordered) -> list[int]:
    """From the oldest batch: each next one is the least like anything that went before it."""
    closest = batches.centres @ batches.centres[0]
    closest[0] = np.inf
    chain = [0]
    while len(chain) < len(batches.sizes):
        chain.append(int(np.argmin(closest)))
        closest = np.maximum(closest, batches.centres @ batches.centres[chain[-1]])
        closest[chain[-1]] = np.inf
    return chain


ORDERS: Mapping[Order, Callable[[Unordered], list[int]]] = {
    "arrival": _arrival,
    "random": _random,
    "nearest": _nearest,
    "farthest": _farthest,
    "size": _by_size,
}
