"""The words of texts, as the ledger's search compares them."""

import re
from collections.abc import Iterable

from daemon.ledger.store.schema.columns import WORD_CHARS
from edits.text import normalise

MAX_WORDS = 256  # of one edit; a text that has more is found by these

_WORD = re.compile(r"\w+")


def words_of(texts: Iterable[str | None]) -> list[str]:
    """The different words of all texts, normalised and at most `WORD_CHARS` long; at most `MAX_WORDS`, in order."""
    found: dict[str, None] = {}
    for text in texts:
        if text is not None:
            found |= dict.fromkeys(word[:WORD_CHARS] for word in _WORD.findall(normalise(text)))
    return list(found)[:MAX_WORDS]
