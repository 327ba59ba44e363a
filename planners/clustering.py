"""Group vectors that lie close together: each method gives every vector the number of its cluster."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from editors.errors import BadRequest
from planners.embedding import Vectors

Labels = NDArray[np.intp]

# Above this many vectors the exact methods cost minutes (k-means) or n^2 memory (agglomerative).
EXACT_LIMIT = 10_000
SUMMARIES = 2_000


def cluster(vectors: Vectors, *, clusters: int, method: str, seed: int) -> Labels:
    """Cluster numbers 0..m-1, one per vector, with m <= `clusters`; equal vectors may share one cluster.

    Raises:
        BadRequest: there is no such method.
    """
    if method not in CLUSTERINGS:
        raise BadRequest(f"no clustering is called {method!r}; known: {', '.join(CLUSTERINGS)}")
    if clusters <= 1 or len(vectors) <= 1:
        return np.zeros(len(vectors), dtype=np.intp)
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Fewer distinct vectors than clusters: the caller copes with fewer clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = CLUSTERINGS[method](vectors, min(clusters, len(vectors)), seed)
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


def _kmeans(vectors: Vectors, clusters: int, seed: int) -> Labels:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if len(vectors) <= EXACT_LIMIT:
        model = KMeans(clusters, random_state=seed, n_init=1)
    else:
        model = MiniBatchKMeans(clusters, random_state=seed, n_init=1, batch_size=4_096)
    return np.asarray(model.fit_predict(vectors))


def _bisecting(vectors: Vectors, clusters: int, seed: int) -> Labels:
    from sklearn.cluster import BisectingKMeans

    # Splitting the largest cluster gives the even sizes that bounded batches want.
    model = BisectingKMeans(clusters, random_state=seed, bisecting_strategy="largest_cluster")
    return np.asarray(model.fit_predict(vectors))


def _agglomerative(vectors: Vectors, clusters: int, seed: int) -> Labels:
    from sklearn.cluster import AgglomerativeClustering

    if len(vectors) <= EXACT_LIMIT:
        return np.asarray(AgglomerativeClustering(clusters).fit_predict(vectors))
    # Merge summaries instead of vectors; every vector then follows its summary.
    nearest = np.unique(_kmeans(vectors, max(SUMMARIES, clusters), seed), return_inverse=True)[1]
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


CLUSTERINGS: Mapping[str, Callable[[Vectors, int, int], Labels]] = {
    "kmeans": _kmeans,
    "bisecting": _bisecting,
    "agglomerative": _agglomerative,
}
