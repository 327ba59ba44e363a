"""Make the text index of stored shards again for another encoder: no base, no training, nothing of the ledger changes.

Each shard's index is written whole or not at all, and what is there already stays: a run that was killed is run again.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from editors.index import QuestionMatcher
from editors.index.reindex import reindex
from editors.store.adapter_store import AdapterStore
from editors.store.shards import Shard
from edits.errors import ShardCorrupt


class ReindexOutcome(StrEnum):
    """What became of one shard."""

    MADE = "made"
    KEPT = "kept"  # made by an earlier run
    OWN = "own"  # the shard itself was made with this encoder
    NO_TEXT = "no_text"  # routed by the base's agreement, or as the papers do: no encoder is asked


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What a run did: shards by outcome, and how many edits were given new vectors."""

    encoder_hash: str
    shards: dict[str, int]
    edits: int
    seconds: float


def reindex_store(
    store: AdapterStore,
    digests: Sequence[str],
    matcher: QuestionMatcher,
    *,
    done: Callable[[], None] = lambda: None,
) -> Reindexed:
    """Derive the index of these shards, in this order, for the matcher's encoder; `done` is called after each of them.

    Raises:
        ShardCorrupt: a shard is missing or damaged; what was made before it stays.
        StoreUnwell: the disk is full or refuses to write; what was made stays.
    """
    started = time.monotonic()
    outcomes: Counter[str] = Counter({outcome.value: 0 for outcome in ReindexOutcome})
    edits = 0
    for digest in digests:
        outcome, count = _reindexed(store, digest, matcher)
        outcomes[outcome.value] += 1
        edits += count
        done()
    return Reindexed(matcher.hash, dict(outcomes), edits, round(time.monotonic() - started, 3))


def _reindexed(store: AdapterStore, digest: str, matcher: QuestionMatcher) -> tuple[ReindexOutcome, int]:
    shard = store.load(digest)
    if shard.header.encoder_hash is None or not shard.header.questions:
        return ReindexOutcome.NO_TEXT, 0
    if shard.header.encoder_hash == matcher.hash:
        return ReindexOutcome.OWN, 0
    if _is_there(store, shard, matcher.hash):
        return ReindexOutcome.KEPT, 0
    store.derived.save(digest, reindex(shard, matcher))
    return ReindexOutcome.MADE, len(shard.header.entries)


def _is_there(store: AdapterStore, shard: Shard, encoder_hash: str) -> bool:
    try:
        found = store.derived.find(shard.digest, encoder_hash)
        if found is not None:
            found.put_into(shard.header, shard.tensors)
    except ShardCorrupt:  # it is made again
        return False
    return found is not None
