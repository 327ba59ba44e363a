"""Turn prompts into unit vectors, so that prompts which ask alike lie close together."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edits.errors import BadRequest

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Gives each text one vector of length 1 (or 0, for a text that says nothing)."""

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(n, d) for n texts; the same texts always give the same vectors."""
        ...


class TfidfEmbedder:
    """Words weighted by rarity, reduced to `dimensions`: needs no model, no download and no torch.

    The space is that of the texts of one call: vectors of two calls cannot be compared.
    """

    name = "tfidf"

    def __init__(self, *, dimensions: int = 64, seed: int = 0, max_words: int = 50_000) -> None:
        self._dimensions = dimensions
        self._seed = seed
        self._max_words = max_words

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(n, d) with d <= `dimensions` as soon as there are more texts and words than that."""
        # scikit-learn takes a second to import: only those who plan pay for it.
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = TfidfVectorizer(
            token_pattern=r"(?u)\w+|[^\w\s]",  # noqa: S106 -- a word or a sign: no text is left without any
            max_features=self._max_words,
            dtype=np.float32,
        )
        weights = words.fit_transform([text if text.strip() else "_" for text in texts])
        if min(weights.shape) <= self._dimensions:
            return unit(weights.toarray())
        reduce = TruncatedSVD(self._dimensions, random_state=self._seed)
        with np.errstate(divide="ignore", invalid="ignore"):  # its variance report, when all texts are equal
            return unit(reduce.fit_transform(weights))


class ModelEmbedder:
    """A language model's own vectors, from a function that the daemon supplies."""

    def __init__(self, name: str, vectors: Callable[[Sequence[str]], Vectors]) -> None:
        self.name = name
        self._vectors = vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(n, d) as the model gives them, without what all texts have in common, at length 1.

        A model's vectors point into one narrow cone; only what is left without their mean tells texts apart.

        Raises:
            BadRequest: the model gave something else than one finite vector per text.
        """
        vectors = np.asarray(self._vectors(texts), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise BadRequest(f"{self.name}'s embedding of {len(texts)} texts has the shape {vectors.shape}")
        return unit(vectors - vectors.mean(axis=0))


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """The same directions at length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
