"""LoRA forms of shards whose experts are none: `lora/<digest>/`, beside the shards, whole or absent, written once.

Each is a folder of two files: `lora.safetensors` with `lora.a` (n, r, f) and `lora.b` (n, d, r), and `lora.json` with the
shard, its edits in the order of the rows, and the sha256 of the first. They can be made again from shard, base and facts.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save as save_tensors
from torch import Tensor

from editors.store.durable import disk_errors, sha256_of, write_folder
from editors.store.mapped import MappedTensors, OpenMaps
from edits.errors import ShardCorrupt

A, B = "lora.a", "lora.b"
_HEADER, _TENSORS = "lora.json", "lora.safetensors"
_MAX_HEADER_BYTES = 32 << 20


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    shard: str = Field(max_length=64)
    sha256: str = Field(max_length=64)
    edit_ids: tuple[str, ...] = Field(max_length=100_000)


@dataclass(frozen=True, slots=True)
class LoraForm:
    """Edits of one shard as LoRA adapters of the edited layer's last FFN projection; those that it lacks have none."""

    edit_ids: Sequence[str]
    tensors: Mapping[str, Tensor]

    def pair(self, edit_id: str) -> tuple[Tensor, Tensor]:
        """A (r, f) and B (d, r) of one of its edits."""
        row = self.edit_ids.index(edit_id)
        return self.tensors[A][row], self.tensors[B][row]


class LoraForms:
    """The LoRA forms of one adapter store."""

    def __init__(self, root: Path, maps: OpenMaps, *, folder_mode: int = 0o700) -> None:
        self.root = root
        self._mode = folder_mode
        self._maps = maps

    def exists(self, digest: str) -> bool:
        """Whether a shard has a form, also one without edits."""
        return (self.root / digest).is_dir()

    def save(self, digest: str, form: LoraForm) -> None:
        """Write a shard's form durably; one that is there stays: what an adapter is called by never changes.

        Raises:
            StoreUnwell: the disk is full or refuses to write; nothing half-written is left under its name.
        """
        tensors = save_tensors({name: tensor.contiguous() for name, tensor in form.tensors.items()})
        sha256 = hashlib.sha256(tensors).hexdigest()
        header = _Header(shard=digest, sha256=sha256, edit_ids=tuple(form.edit_ids))
        written = json.dumps(header.model_dump(), sort_keys=True).encode()
        with disk_errors(self.root):
            if not self.exists(digest):
                write_folder(self.root / digest, {_HEADER: written, _TENSORS: tensors}, mode=self._mode)

    def find(self, digest: str) -> LoraForm | None:
        """A shard's form, proved to be what was written; its weights stay on disk. None: there is none.

        Raises:
            ShardCorrupt: it is damaged.
        """
        folder = self.root / digest
        with disk_errors(self.root):
            if not folder.is_dir():
                return None
            header = self._header(folder, digest)

            def prove() -> None:
                if sha256_of(folder / _TENSORS) != header.sha256:
                    raise _damaged(folder)

            tensors = MappedTensors(folder / _TENSORS, self._maps, digest=digest, prove=prove)
        rows = {len(tensors[name]) for name in (A, B) if name in tensors}
        if set(tensors) != {A, B} or rows != {len(header.edit_ids)}:
            raise _damaged(folder)
        return LoraForm(header.edit_ids, tensors)

    def _header(self, folder: Path, digest: str) -> _Header:
        path = folder / _HEADER
        try:
            if path.stat().st_size > _MAX_HEADER_BYTES:
                raise _damaged(folder)
            header = _Header.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError) as error:
            raise _damaged(folder) from error
        if header.shard != digest:
            raise _damaged(folder)
        return header


def _damaged(folder: Path) -> ShardCorrupt:
    return ShardCorrupt(f"the LoRA form {folder} is damaged: remove the folder, a worker makes it again")
