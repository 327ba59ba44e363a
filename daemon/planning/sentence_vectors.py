"""Vectors of an installed sentence-transformers model: `planner.embedding = "sentence-transformers"`."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from daemon.settings.complaints import BadSettings
from edits.errors import PermanentError
from edits.extras import extra
from planners.embedding import Vectors, unit

ROWS = 64


class SentenceVectors:
    """A sentence-transformers model, loaded for this object's life."""

    def __init__(self, model: str, *, device: str) -> None:
        """Raises:
        BadSettings: the package is not installed.
        PermanentError: the model cannot be loaded.
        """
        setting = 'planner.embedding = "sentence-transformers"'
        with extra(
            "sentence-transformers", purpose=setting, instead='choose "base" or "tfidf"', error=BadSettings
        ):
            from sentence_transformers import SentenceTransformer
        try:
            # No code of the model's own is run, and no pickle is read.
            self._model = SentenceTransformer(
                model,
                device=None if device == "auto" else device,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # a hub id, a folder, a network: anything can go wrong in any way
            first = str(error).strip().split("\n", 1)[0][:300]
            raise PermanentError(f"planner.embedding_model = {model!r} cannot be loaded: {first}") from error
        self.identity = f"sentence-transformers {version('sentence-transformers')}:{model}"

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """(n, d) of length 1; what is too long for the model is truncated by it."""
        made = self._model.encode(
            list(texts), batch_size=ROWS, convert_to_numpy=True, show_progress_bar=False
        )
        return unit(np.asarray(made, dtype=np.float32))
