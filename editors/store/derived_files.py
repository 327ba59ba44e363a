"""Derived text indexes beside the shards that they belong to: `index/<encoder hash>/<digest>/`, whole or absent.

Each is a folder of two files: `index.safetensors` with `scope.text` (m, w) and `scope.odds` (n,), where an edit without text
has NaN, and `index.json` with the shard, the encoder and the sha256 of the first. They can be made again at any time.
"""

import math
import shutil
from pathlib import Path

import torch
from pydantic import Field

from editors.store.derived_index import TEXT_VECTORS, DerivedIndex
from editors.store.durable import disk_errors
from editors.store.mapped import OpenMaps
from editors.store.proved_folders import ProvedFolders, ProvedHeader
from edits.errors import ShardDamaged

ODDS = "scope.odds"
_MAX_HEADER_BYTES = 4096


class _Header(ProvedHeader):
    encoder_hash: str = Field(max_length=100)


class DerivedFiles:
    """The derived indexes of one adapter store."""

    def __init__(self, root: Path, maps: OpenMaps, *, folder_mode: int = 0o700) -> None:
        self.root = root
        self._folders = ProvedFolders(
            *("index", _Header, maps),
            max_header_bytes=_MAX_HEADER_BYTES,
            folder_mode=folder_mode,
            damaged=_damaged,
        )

    def save(self, digest: str, index: DerivedIndex) -> None:
        """Write a shard's index durably; a damaged one of that name is replaced.

        Raises:
            StoreUnwell: the disk is full or read-only; nothing half-written is left under its name.
        """
        odds = torch.tensor([math.nan if one is None else one for one in index.odds], dtype=torch.float32)
        tensors = {TEXT_VECTORS: index.vectors[TEXT_VECTORS], ODDS: odds}
        target = self._folder(digest, index.encoder_hash)
        with disk_errors(self.root):
            if target.exists():
                shutil.rmtree(target)
        self._folders.write(target, digest, tensors, encoder_hash=index.encoder_hash)

    def find(self, digest: str, encoder_hash: str) -> DerivedIndex | None:
        """A shard's index for this encoder, proved to be what was written; its vectors stay on disk. None: there is none.

        Raises:
            ShardDamaged: it is damaged.
        """
        folder = self._folder(digest, encoder_hash)
        if (found := self._folders.read(folder, digest)) is None:
            return None
        header, tensors = found
        if header.encoder_hash != encoder_hash or not {TEXT_VECTORS, ODDS} <= set(tensors):
            raise _damaged(folder)
        odds = [None if math.isnan(one) else one for one in tensors[ODDS].tolist()]
        return DerivedIndex(encoder_hash, tensors, odds)

    def folders(self) -> list[Path]:
        """The folders of all encoders, each with one of each shard."""
        return [entry for entry in self.root.iterdir() if entry.is_dir()] if self.root.is_dir() else []

    def _folder(self, digest: str, encoder_hash: str) -> Path:
        return self.root / encoder_hash.removeprefix("sha256:") / digest


def _damaged(folder: Path) -> ShardDamaged:
    return ShardDamaged(
        folder.name, f"the index {folder} is damaged: run `upkeep reindex`, which makes it again"
    )
