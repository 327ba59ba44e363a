"""The cache of embeddings in the ledger, on both databases: found again, kept apart, bounded."""

import numpy as np
from support.ledger.ledger_backends import Clock

from daemon.ledger import Ledger


def vectors(*texts: str) -> dict[str, np.ndarray]:
    return {text: np.array([len(text), -0.5], dtype=np.float16) for text in texts}


def test_a_vector_is_found_again_by_embedder_and_text(ledger: Ledger) -> None:
    texts = [f"The capital of Land{number} is" for number in range(1_200)] + ["東京\x00", "\ud800"]
    ledger.embeddings.store("base:1", vectors(*texts))
    ledger.embeddings.store("base:1", {texts[0]: np.zeros(2, dtype=np.float16)})

    found = ledger.embeddings.known("base:1", [*texts, "never asked"])
    assert found.keys() == set(texts)
    np.testing.assert_array_equal(found[texts[0]], vectors(texts[0])[texts[0]], "what is there stays")
    assert ledger.embeddings.known("base:2", texts) == {}


def test_old_vectors_go_and_so_do_those_over_the_bound(ledger: Ledger, clock: Clock) -> None:
    ledger.embeddings.store("e", vectors("first"))
    clock.advance(40 * 86_400)
    for text in ("a", "b", "c"):
        ledger.embeddings.store("e", vectors(text))
        clock.advance(1)

    assert ledger.control.housekeep(30).rows_deleted == 1
    assert ledger.embeddings.known("e", ["first", "a", "b", "c"]).keys() == {"a", "b", "c"}
    assert ledger.control.housekeep(30, kept_embeddings=2).rows_deleted == 1
    assert ledger.embeddings.known("e", ["a", "b", "c"]).keys() == {"b", "c"}
