"""The adapter store: a folder of immutable shards. A shard is either whole or absent, whatever dies meanwhile."""

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from editors.store.derived_files import DerivedFiles
from editors.store.durable import StoreUnwell as StoreUnwell  # the name that the other modules know
from editors.store.durable import disk_errors, pieces, write_folder
from editors.store.lora_forms import LoraForms
from editors.store.mapped import MappedTensors, OpenMaps
from editors.store.shards import MAX_HEADER_BYTES, Shard, digest_begun, digest_of, parse_shard
from edits.errors import ShardCorrupt, ShardDamaged

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_WEIGHTS_BYTES = 64 * 1024**3


YOUNG = "younger than what may go"


@dataclass(slots=True)
class Swept:
    """How many entries a sweep removed, and how many it left though nothing names them, by why."""

    removed: int = 0
    left: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> dict[str, int]:
        """What should have gone and could not, by what the disk said."""
        return {why: count for why, count in self.left.items() if why != YOUNG}


class AdapterStore:
    """Shards by content under `root/shards/<digest>/`; written aside, fsynced, renamed.

    Attributes:
        derived: indexes that other encoders made of the shards' texts, under `root/index/`.
        lora: LoRA forms of shards whose experts are none, under `root/lora/`.
    """

    def __init__(self, root: Path | str, *, folder_mode: int = 0o700) -> None:
        """
        Args:
            folder_mode: rights of new folders, such as 0o750 where another user of the same group serves.
        """
        root = self.root = Path(root)
        self._shards = root / "shards"
        self._maps = OpenMaps()
        self._mode = folder_mode
        self.derived = DerivedFiles(root / "index", self._maps, folder_mode=folder_mode)
        self.lora = LoraForms(root / "lora", self._maps, folder_mode=folder_mode)

    def save(self, shard: Shard) -> str:
        """Write a shard durably and return its digest; saving what is already there changes nothing.

        Raises:
            StoreUnwell: the disk is full or read-only; nothing half-written is left under the shard's name.
        """
        header, weights = shard.payload
        digest = digest_of(header, [weights])
        target = self._shards / digest
        with disk_errors(self.root):
            if os.path.lexists(target):
                if self.is_whole(digest):
                    os.utime(target)  # young again: about to be published, not to be swept
                    return digest
                self._set_aside(target)
            write_folder(target, {"shard.json": header, "shard.safetensors": weights}, mode=self._mode)
        return digest

    def load(self, digest: str, *, encoder_hash: str | None = None) -> Shard:
        """Open a shard and prove that it is the one that its digest names; its weights stay on disk until they are used.

        Args:
            encoder_hash: where an index was derived for this encoder, it stands in place of the shard's own.

        Raises:
            ShardDamaged: it, or its derived index, is missing, damaged, or of an unknown form.
            StoreUnwell: the disk does not let us read it.
        """
        if not _DIGEST.fullmatch(digest):
            raise ShardCorrupt(f"{digest!r} is not a shard's digest")
        folder = self._shards / digest
        header_file, weights_file = folder / "shard.json", folder / "shard.safetensors"
        with disk_errors(self.root):
            for file, limit in ((header_file, MAX_HEADER_BYTES), (weights_file, _MAX_WEIGHTS_BYTES)):
                if not file.is_file():
                    raise ShardDamaged(
                        digest, f"{file} is missing: restore it from a copy, or `upkeep repair`"
                    )
                if file.stat().st_size > limit:
                    raise ShardDamaged(digest, f"{file} is larger than {limit} bytes")
            header = header_file.read_bytes()

            begun = digest_begun(header)

            def prove() -> None:  # asked as long as the shard is held: it must not hold the header's bytes
                found = begun.copy()
                for piece in pieces(weights_file):
                    found.update(piece)
                if found.hexdigest() != digest:
                    raise ShardDamaged(
                        digest,
                        f"shard {digest} does not match its digest: restore it from a copy, or `upkeep repair`",
                    )

            tensors = MappedTensors(weights_file, self._maps, digest=digest, prove=prove)
        derived = None if encoder_hash is None else self.derived.find(digest, encoder_hash)
        return parse_shard(header, tensors, digest=digest, derived=derived)

    def is_whole(self, digest: str) -> bool:
        """Whether the shard's files are what its digest says; reads them all.

        Raises:
            StoreUnwell: the disk does not let us read them.
        """
        folder = self._shards / digest
        header, weights = folder / "shard.json", folder / "shard.safetensors"
        with disk_errors(self.root):
            if not (header.is_file() and weights.is_file()):  # a pipe, too, would be waited for
                return False
            try:
                return digest_of(header.read_bytes(), pieces(weights)) == digest
            except FileNotFoundError:
                return False

    def _set_aside(self, folder: Path) -> None:
        """Out of the way of a whole one; swept like what a dead writer left."""
        self._maps.close(folder / "shard.safetensors")
        folder.rename(folder.with_name(f".damaged-{folder.name}-{time.time_ns()}"))

    def digests(self) -> set[str]:
        """All shards that are completely there."""
        if not self._shards.is_dir():
            return set()
        return {entry.name for entry in self._shards.iterdir() if _DIGEST.fullmatch(entry.name)}

    def sweep(self, *, keep: Iterable[str], older_than_seconds: float) -> Swept:
        """Remove shards that no generation names, with what was derived from them, and leftovers of writers that died.

        Only what is older than `older_than_seconds` goes: a younger one may be about to be published. What cannot be removed
        is left for the next time.

        Returns:
            What became of what is not named, in the shards' folder; with what was left in the others.
        """
        wanted = set(keep)
        swept = self._sweep(self._shards, wanted, older_than_seconds)
        for folder in (*self.derived.folders(), self.lora.root):
            derived = self._sweep(folder, wanted, older_than_seconds)
            swept.left.update(derived.left)
        return swept

    def _sweep(self, folder: Path, wanted: set[str], older_than_seconds: float) -> Swept:
        swept = Swept()
        if not folder.is_dir():
            return swept
        horizon = time.time() - older_than_seconds
        with disk_errors(self.root):
            entries = [entry for entry in folder.iterdir() if entry.name not in wanted]
        for entry in entries:
            try:
                if entry.stat().st_mtime >= horizon:
                    swept.left[YOUNG] += 1
                    continue
                shutil.rmtree(entry)
            except FileNotFoundError:  # its writer renamed it, or another worker sweeps too
                continue
            except OSError as error:
                swept.left[error.strerror or type(error).__name__] += 1
                continue
            for file in ("shard.safetensors", "index.safetensors", "lora.safetensors"):
                self._maps.close(entry / file)
            swept.removed += 1
        return swept
