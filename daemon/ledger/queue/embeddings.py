"""Vectors of texts, kept by what made them and of which text: an embedder is asked once for each."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import chunks
from daemon.ledger.store.schema import embeddings

KEPT_EMBEDDINGS = 200_000  # of at most 256 numbers each: some 100 MB
ROWS_AT_ONCE = 5_000  # of one transaction: nobody waits long for it
STORED = np.dtype("<f2")


class Embeddings:
    """A cache: whatever is missing here can be made again."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def known(self, embedder: str, texts: Sequence[str]) -> dict[str, NDArray[np.float16]]:
        """The vectors that `embedder` gave to these texts, as far as they are kept."""
        asked = {_key(embedder, text): text for text in texts}
        found: dict[str, NDArray[np.float16]] = {}
        with self._database.read() as connection:
            for part in chunks(sorted(asked)):
                query = select(embeddings.c.key, embeddings.c.vector).where(embeddings.c.key.in_(part))
                for key, vector in connection.execute(query):
                    found[asked[key]] = np.frombuffer(vector, dtype=STORED)
        return found

    def store(self, embedder: str, vectors: Mapping[str, NDArray[np.float16]]) -> None:
        """Keep vectors by text; what is there already stays. `embedder` changes whenever its vectors would."""
        # In the order of their keys: two writers never wait for each other in turn.
        keys = sorted((_key(embedder, text), text) for text in vectors)
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        for start in range(0, len(keys), ROWS_AT_ONCE):
            at = self._clock()
            rows = [
                {"key": key, "vector": vectors[text].astype(STORED).tobytes(), "created_at": at}
                for key, text in keys[start : start + ROWS_AT_ONCE]
            ]
            with self._database.write() as connection:
                connection.execute(insert(embeddings).on_conflict_do_nothing(), rows)


def drop_old_embeddings(connection: Connection, oldest: datetime, kept: int) -> int:
    """Delete what is older than `oldest`, or than the newest so many that are kept; how many rows."""
    newest = select(embeddings.c.created_at).order_by(embeddings.c.created_at.desc())
    limit = connection.execute(newest.offset(kept).limit(1)).scalar_one_or_none()
    if limit is not None and limit >= oldest:
        gone = delete(embeddings).where(embeddings.c.created_at <= limit)
    else:
        gone = delete(embeddings).where(embeddings.c.created_at < oldest)
    return connection.execute(gone).rowcount


def _key(embedder: str, text: str) -> str:
    # The text last: it may hold any character.
    return hashlib.sha256(f"{embedder}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()
