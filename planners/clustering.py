"""Group vectors that lie close together: each method gives every vector the number of its cluster."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.embedding import Vectors
from planners.settings import Clustering

Labels = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ClusteringLimits:
    """Numbers of vectors at which the methods go over to cheaper ones.

    Above `exact` the exact methods cost minutes (k-means) or n^2 memory (agglomerative). `part`: k-means of many vectors
    is made of k-means of parts of at most about this size. `summaries`: agglomerative merges at least so many means.
    """

    exact: int = 10_000
    part: int = 4_000
    summaries: int = 2_000


DEFAULT_LIMITS = ClusteringLimits()


def cluster(
    vectors: Vectors,
    *,
    clusters: int,
    method: Clustering,
    seed: int,
    limits: ClusteringLimits = DEFAULT_LIMITS,
) -> Labels:
    """Cluster numbers 0..m-1, one per vector, with m <= `clusters`; equal vectors may share one cluster."""
    if clusters <= 1 or len(vectors) <= 1:
        return np.zeros(len(vectors), dtype=np.intp)
    with repeatable():
        labels = CLUSTERINGS[method](vectors, min(clusters, len(vectors)), seed, limits)
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


@contextmanager
def repeatable() -> Iterator[None]:
    """While the block runs, scikit-learn gives the same clusters for the same input, and bears equal vectors.

    Sums of two threads are the same whichever comes first; of three they are not.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_info, threadpool_limits

    now = [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "openmp"]
    with warnings.catch_warnings(), threadpool_limits(limits=min([2, *now]), user_api="openmp"):
        # Fewer distinct vectors than clusters: the caller copes with fewer clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _kmeans(vectors: Vectors, clusters: int, seed: int, limits: ClusteringLimits) -> Labels:
    """Lloyd's k-means; of many vectors, started from the centres of parts and gone over twice.

    Measured at 100,000 vectors and 2,500 clusters: less inertia than MiniBatchKMeans in less time.
    """
    from sklearn.cluster import KMeans

    if len(vectors) <= limits.exact:
        return np.asarray(KMeans(clusters, random_state=seed, n_init=1).fit_predict(vectors))
    centres = _centres_by_parts(vectors, clusters, seed, limits)
    return np.asarray(KMeans(len(centres), init=centres, n_init=1, max_iter=2).fit_predict(vectors))


def _centres_by_parts(vectors: Vectors, clusters: int, seed: int, limits: ClusteringLimits) -> Vectors:
    """About `clusters` centres: the vectors fall into parts, and each part gets its share of the clusters."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if clusters <= 1:
        return np.asarray(vectors.mean(axis=0, keepdims=True))
    if len(vectors) <= limits.part:
        return np.asarray(
            KMeans(clusters, random_state=seed, n_init=1, max_iter=30).fit(vectors).cluster_centers_
        )
    parts = min(clusters, max(2, math.isqrt(clusters)))
    coarse = MiniBatchKMeans(parts, random_state=seed, n_init=1, batch_size=4_096)
    labels = np.unique(coarse.fit_predict(vectors), return_inverse=True)[1]
    if labels.max() == 0:  # all of them are equal
        return np.asarray(vectors[:1])
    members = [vectors[labels == number] for number in range(int(labels.max()) + 1)]
    return np.concatenate(
        [
            _centres_by_parts(
                part, min(len(part), max(1, round(clusters * len(part) / len(vectors)))), seed, limits
            )
            for part in members
        ]
    )


def _bisecting(vectors: Vectors, clusters: int, seed: int, _limits: ClusteringLimits) -> Labels:
    from sklearn.cluster import BisectingKMeans

    # Splitting the largest cluster gives the even sizes that bounded batches want.
    model = BisectingKMeans(clusters, random_state=seed, bisecting_strategy="largest_cluster")
    return np.asarray(model.fit_predict(vectors))


def _agglomerative(vectors: Vectors, clusters: int, seed: int, limits: ClusteringLimits) -> Labels:
    from sklearn.cluster import AgglomerativeClustering

    if len(vectors) <= limits.exact:
        return np.asarray(AgglomerativeClustering(clusters).fit_predict(vectors))
    # Merge summaries instead of vectors; every vector then follows its summary.
    summaries = min(limits.exact, max(limits.summaries, 2 * clusters))
    nearest = np.unique(_kmeans(vectors, summaries, seed, limits), return_inverse=True)[1]
    means = group_means(vectors, nearest)
    merged = AgglomerativeClustering(min(clusters, len(means))).fit_predict(means)
    return np.asarray(merged)[nearest]


def group_means(vectors: Vectors, labels: Labels) -> Vectors:
    """(m, d): the mean of each group 0..m-1; every group has a member."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    sums = np.add.reduceat(vectors[order], starts, axis=0)
    return np.asarray(sums / counts[:, None], dtype=np.float32)


CLUSTERINGS: Mapping[Clustering, Callable[[Vectors, int, int, ClusteringLimits], Labels]] = {
    "kmeans": _kmeans,
    "bisecting": _bisecting,
    "agglomerative": _agglomerative,
}
