"""Whether a shard fits where it shall answer: the base, the encoder, and the generation that names its edits."""

from collections.abc import Iterable

from editors.pretrained.hashing import BaseHash
from editors.store.shards import Shard
from edits.errors import ShardCorrupt
from edits.ids import EditId


def require_fit(
    shard: Shard, *, base_hash: BaseHash, encoder_hash: str | None = None, edit_ids: Iterable[EditId] = ()
) -> None:
    """Let a shard pass that answers on this base.

    Args:
        encoder_hash: of what reads prompts here, which must read them as the shard's index was read; None: nothing does.
        edit_ids: what a generation says that the shard carries.

    Raises:
        ShardCorrupt: it does not fit; the message says what to do.
    """
    header = shard.header
    if not base_hash.is_of(header.base_hash):
        raise ShardCorrupt(
            f"shard {shard.digest} was made for base {header.base_hash}, this is {base_hash.current}: "
            "set model.path back, or start a new ledger and store for the new base"
        )
    if None not in (header.encoder_hash, encoder_hash) and header.encoder_hash != encoder_hash:
        raise ShardCorrupt(
            f"shard {shard.digest} was indexed with encoder {header.encoder_hash}, this is {encoder_hash}: run "
            "`upkeep reindex` (no training), or set index.encoder back"
        )
    if missing := set(edit_ids) - set(shard.edit_ids):
        raise ShardCorrupt(
            f"shard {shard.digest} lacks edits {sorted(missing)[:5]} that its generation names"
        )
