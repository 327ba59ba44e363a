"""The planner's embedder by the settings: the base's own vectors or another model's, cached in the ledger, or TF-IDF."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import structlog

from daemon.ledger import Ledger
from daemon.ledger.errors import LedgerUnavailable
from daemon.settings.settings import Settings
from edits.errors import PermanentError, TemporaryError
from planners import Embedder, ModelEmbedder, TfidfEmbedder
from planners.embedding import Vectors

_log = structlog.get_logger(__name__)


class VectorSource(Protocol):
    """A model that gives each text a vector whatever else is asked, so that vectors can be cached.

    `identity` changes whenever its vectors would.
    """

    identity: str

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """(n, d) of length 1."""
        ...


class CachedVectors:
    """Asks the ledger first, and the model for the rest; the model is opened when vectors are asked for."""

    def __init__(self, open_source: Callable[[], VectorSource], ledger: Ledger) -> None:
        self._open_source = open_source
        self._ledger = ledger

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """(n, d) of length 1.

        Raises:
            LedgerUnavailable: the ledger is away for now.
            TemporaryError, PermanentError: the model cannot be used.
        """
        source = self._open_source()
        distinct = list(dict.fromkeys(texts))
        vectors = self._ledger.embeddings.known(source.identity, distinct)
        missing = [text for text in distinct if text not in vectors]
        if missing:
            # Rounded as the cache rounds them: a plan is the same whether they came from it or not.
            computed = source.vectors(missing).astype(np.float16)
            fresh = dict(zip(missing, computed, strict=True))
            self._ledger.embeddings.store(source.identity, fresh)
            vectors |= fresh
        _log.info("embedded", by=source.identity, texts=len(distinct), cached=len(distinct) - len(missing))
        return np.stack([vectors[text] for text in texts]).astype(np.float32)


class FallbackEmbedder:
    """One embedder, and another where it cannot be used: a plan by words is better than none."""

    def __init__(self, first: Embedder, fallback: Embedder) -> None:
        self._first = first
        self._fallback = fallback
        self.name = first.name

    def embed(self, texts: Sequence[str]) -> Vectors:
        """By the first embedder that can be used; `name` is that one's afterwards."""
        try:
            vectors = self._first.embed(texts)
        except LedgerUnavailable:
            raise
        except (TemporaryError, PermanentError) as error:
            _log.warning(
                f"no embedding by {self._first.name}: by {self._fallback.name} instead", reason=str(error)
            )
            self.name = self._fallback.name
            return self._fallback.embed(texts)
        self.name = self._first.name
        return vectors


def open_embedder(settings: Settings, ledger: Ledger) -> Embedder:
    """What `planner.embedding` names; no model is loaded before it is asked for vectors."""
    chosen = settings.planner
    tfidf = TfidfEmbedder(seed=chosen.seed)
    if chosen.embedding == "tfidf":
        return tfidf
    if chosen.embedding == "sentence-transformers":
        return ModelEmbedder(chosen.embedding, CachedVectors(lambda: _open_sentences(settings), ledger))
    return FallbackEmbedder(ModelEmbedder("base", CachedVectors(lambda: _open_base(settings), ledger)), tfidf)


def _open_base(settings: Settings) -> VectorSource:
    settings.model.required_path()  # before torch is loaded for nothing
    from daemon.planning.base_vectors import BaseVectors
    from daemon.served_model import open_base

    # Loaded for as long as the embedder lives: the scheduler plans the batch lane once a night.
    return BaseVectors(open_base(settings.model))


def _open_sentences(settings: Settings) -> VectorSource:
    from daemon.planning.sentence_vectors import SentenceVectors

    return SentenceVectors(settings.planner.embedding_model, device=settings.model.device)
