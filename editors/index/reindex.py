"""Another encoder reads a shard's stored texts again: new vectors, new thresholds, no training, no base."""

from editors.index.entries import thresholds
from editors.index.matcher import QuestionMatcher
from editors.store.derived_index import TEXT_VECTORS, DerivedIndex
from editors.store.header import LARGEST_ODDS
from editors.store.shards import STORED_DTYPE, Shard
from edits.errors import ShardCorrupt


def reindex(shard: Shard, matcher: QuestionMatcher) -> DerivedIndex:
    """The text index of a shard as this matcher has it.

    An edit's threshold is measured anew on its own question. It never falls under the shard's own, which may have been
    raised over locality prompts that are not stored: what must not change stays more important than one more paraphrase.

    Raises:
        ShardCorrupt: the shard has no text, or an edit without its own question.
    """
    header = shard.header
    if header.calibration is None or not header.questions:
        raise ShardCorrupt(f"shard {shard.digest} has no text to read again")
    read = matcher.encode([question.text for question in header.questions])
    rated = [(n, entry.odds) for n, entry in enumerate(header.entries) if entry.odds is not None]
    if missing := [n for n, _ in rated if not shard.own_questions(n)]:
        edit_id = header.entries[missing[0]].edit_id
        raise ShardCorrupt(f"shard {shard.digest}: edit {edit_id} has lost its own question")
    questions = read.rows([shard.own_questions(n).start for n, _ in rated])
    found = thresholds(questions, matcher, target_false_fire=header.calibration.target_false_fire)
    odds: list[float | None] = [None] * len(header.entries)
    for (n, stored), new in zip(rated, found, strict=True):
        odds[n] = min(LARGEST_ODDS, max(new, stored))
    return DerivedIndex(matcher.hash, {TEXT_VECTORS: read.vectors.to(STORED_DTYPE)}, tuple(odds))
