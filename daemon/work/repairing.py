"""Train again what stood in damaged shards: their live edits leave the model's state and wait for the next plan."""

from collections.abc import Callable
from dataclasses import dataclass

from daemon.ledger import Ledger
from daemon.ledger.errors import ForbiddenMove
from daemon.ledger.values import Act, Blamed
from editors.store.adapter_store import AdapterStore
from edits.ids import EditId


@dataclass(frozen=True, slots=True)
class Repair:
    """Damaged shards, each with the live edits that it carries; and those edits that wait to be trained again."""

    damaged: dict[str, tuple[EditId, ...]]
    pending: tuple[EditId, ...] = ()


def find_damage(ledger: Ledger, store: AdapterStore, *, done: Callable[[], None] = lambda: None) -> Repair:
    """Read every live shard and compare it with its digest.

    Raises:
        StoreUnwell: the disk does not let us read them.
    """
    carried: dict[str, list[EditId]] = {}
    for edit_id, digest in ledger.generations.live().items():
        carried.setdefault(digest, []).append(edit_id)
    damaged: dict[str, tuple[EditId, ...]] = {}
    for digest, ids in carried.items():
        if not store.is_whole(digest):
            damaged[digest] = tuple(ids)
        done()
    return Repair(damaged)


def train_again(ledger: Ledger, found: Repair, act: Act) -> Repair:
    """Publish a generation without the damaged shards' edits, and let these edits wait as if they had just arrived.

    What is trained again replaces the damaged files, also where it comes out byte for byte the same.
    """
    culprits = {
        edit_id: Blamed(f"shard {digest[:12]} is damaged", {"shard": digest})
        for digest, ids in found.damaged.items()
        for edit_id in ids
    }
    if not culprits:
        return found
    cause = f"repair: {act.reason}"
    ledger.generations.settle_blame(culprits, cleared=(), rolled_back=None, cause=cause)
    pending = []
    for edit_id in culprits:
        try:
            ledger.control.retry(edit_id, cause=cause, act=act)
        except ForbiddenMove:  # something else has become of it in between
            continue
        pending.append(edit_id)
    return Repair(found.damaged, tuple(pending))
