"""LoRA forms of shards whose experts are none: `lora/<digest>/`, beside the shards, whole or absent, written once.

Each is a folder of two files: `lora.safetensors` with `lora.a` (n, r, f) and `lora.b` (n, d, r), and `lora.json` with the
shard, its edits in the order of the rows, and the sha256 of the first. They can be made again from shard, base and facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from torch import Tensor

from editors.store.mapped import OpenMaps
from editors.store.proved_folders import ProvedFolders, ProvedHeader
from edits.errors import ShardCorrupt

A, B = "lora.a", "lora.b"
_MAX_HEADER_BYTES = 32 << 20


class _Header(ProvedHeader):
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
        self._folders = ProvedFolders(
            *("lora", _Header, maps),
            max_header_bytes=_MAX_HEADER_BYTES,
            folder_mode=folder_mode,
            damaged=_damaged,
        )

    def exists(self, digest: str) -> bool:
        """Whether a shard has a form, also one without edits."""
        return (self.root / digest).is_dir()

    def save(self, digest: str, form: LoraForm) -> None:
        """Write a shard's form durably; one that is there stays: what an adapter is called by never changes.

        Raises:
            StoreUnwell: the disk is full or refuses to write; nothing half-written is left under its name.
        """
        if not self.exists(digest):
            self._folders.write(self.root / digest, digest, form.tensors, edit_ids=tuple(form.edit_ids))

    def find(self, digest: str) -> LoraForm | None:
        """A shard's form, proved to be what was written; its weights stay on disk. None: there is none.

        Raises:
            ShardCorrupt: it is damaged.
        """
        folder = self.root / digest
        if (found := self._folders.read(folder, digest)) is None:
            return None
        header, tensors = found
        rows = {len(tensors[name]) for name in (A, B) if name in tensors}
        if set(tensors) != {A, B} or rows != {len(header.edit_ids)}:
            raise _damaged(folder)
        return LoraForm(header.edit_ids, tensors)


def _damaged(folder: Path) -> ShardCorrupt:
    return ShardCorrupt(f"the LoRA form {folder} is damaged: remove the folder, a worker makes it again")
