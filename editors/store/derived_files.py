"""Derived text indexes beside the shards that they belong to: `index/<encoder hash>/<digest>/`, whole or absent.

Each is a folder of two files: `index.safetensors` with `scope.text` (m, w) and `scope.odds` (n,), where an edit without text
has NaN, and `index.json` with the shard, the encoder and the sha256 of the first. They can be made again at any time.
"""

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save as save_tensors

from editors.store.derived_index import TEXT_VECTORS, DerivedIndex
from editors.store.durable import disk_errors, sha256_of, write_folder
from editors.store.mapped import MappedTensors, OpenMaps
from edits.errors import ShardDamaged

ODDS = "scope.odds"
_HEADER, _TENSORS = "index.json", "index.safetensors"
_MAX_HEADER_BYTES = 4096


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    encoder_hash: str = Field(max_length=100)
    shard: str = Field(max_length=64)
    sha256: str = Field(max_length=64)


class DerivedFiles:
    """The derived indexes of one adapter store."""

    def __init__(self, root: Path, maps: OpenMaps, *, folder_mode: int = 0o700) -> None:
        self.root = root
        self._mode = folder_mode
        self._maps = maps

    def save(self, digest: str, index: DerivedIndex) -> None:
        """Write a shard's index durably; a damaged one of that name is replaced.

        Raises:
            StoreUnwell: the disk is full or read-only; nothing half-written is left under its name.
        """
        odds = torch.tensor([math.nan if one is None else one for one in index.odds], dtype=torch.float32)
        tensors = save_tensors({TEXT_VECTORS: index.vectors[TEXT_VECTORS].contiguous(), ODDS: odds})
        header = _Header(
            encoder_hash=index.encoder_hash, shard=digest, sha256=hashlib.sha256(tensors).hexdigest()
        )
        written = json.dumps(header.model_dump(), sort_keys=True).encode()
        target = self._folder(digest, index.encoder_hash)
        with disk_errors(self.root):
            if target.exists():
                shutil.rmtree(target)
            write_folder(target, {_HEADER: written, _TENSORS: tensors}, mode=self._mode)

    def find(self, digest: str, encoder_hash: str) -> DerivedIndex | None:
        """A shard's index for this encoder, proved to be what was written; its vectors stay on disk. None: there is none.

        Raises:
            ShardDamaged: it is damaged.
        """
        folder = self._folder(digest, encoder_hash)
        with disk_errors(self.root):
            if not folder.is_dir():
                return None
            header = self._header(folder, digest, encoder_hash)

            def prove() -> None:
                if sha256_of(folder / _TENSORS) != header.sha256:
                    raise _damaged(folder)

            tensors = MappedTensors(folder / _TENSORS, self._maps, digest=digest, prove=prove)
        if not {TEXT_VECTORS, ODDS} <= set(tensors):
            raise _damaged(folder)
        odds = [None if math.isnan(one) else one for one in tensors[ODDS].tolist()]
        return DerivedIndex(encoder_hash, tensors, odds)

    def folders(self) -> list[Path]:
        """The folders of all encoders, each with one of each shard."""
        return [entry for entry in self.root.iterdir() if entry.is_dir()] if self.root.is_dir() else []

    def _header(self, folder: Path, digest: str, encoder_hash: str) -> _Header:
        path = folder / _HEADER
        try:
            if path.stat().st_size > _MAX_HEADER_BYTES or not (folder / _TENSORS).is_file():
                raise _damaged(folder)
            header = _Header.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError) as error:
            raise _damaged(folder) from error
        if (header.shard, header.encoder_hash) != (digest, encoder_hash):
            raise _damaged(folder)
        return header

    def _folder(self, digest: str, encoder_hash: str) -> Path:
        return self.root / encoder_hash.removeprefix("sha256:") / digest


def _damaged(folder: Path) -> ShardDamaged:
    return ShardDamaged(
        folder.name, f"the index {folder} is damaged: run `upkeep reindex`, which makes it again"
    )
