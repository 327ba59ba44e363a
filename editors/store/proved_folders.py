"""Folders beside the shards: tensors, and a small header that names the shard and the tensors' sha256; whole or absent."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save as save_tensors
from torch import Tensor

from editors.store.durable import disk_errors, sha256_of, write_folder
from editors.store.mapped import MappedTensors, OpenMaps
from edits.errors import ShardCorrupt


class ProvedHeader(BaseModel):
    """What the header of such a folder says at least."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    shard: str = Field(max_length=64)
    sha256: str = Field(max_length=64)


H = TypeVar("H", bound=ProvedHeader)


class ProvedFolders(Generic[H]):
    """Folders of one kind: `<name>.json` and `<name>.safetensors`, which is proved to be what was written."""

    def __init__(
        self,
        name: str,
        header: type[H],
        maps: OpenMaps,
        *,
        max_header_bytes: int,
        folder_mode: int,
        damaged: Callable[[Path], ShardCorrupt],
    ) -> None:
        """
        Args:
            damaged: the error of a folder that is damaged, with what to do about it.
        """
        self._header_name, self._tensors_name = f"{name}.json", f"{name}.safetensors"
        self._type = header
        self._maps = maps
        self._max_header_bytes = max_header_bytes
        self._mode = folder_mode
        self.damaged = damaged

    def write(self, folder: Path, digest: str, tensors: Mapping[str, Tensor], **fields: Any) -> None:
        """Write a shard's folder durably, where none is; `fields` are those that its header has of its own.

        Raises:
            StoreUnwell: the disk is full or read-only; nothing half-written is left under its name.
        """
        saved = save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()})
        header = self._type(shard=digest, sha256=hashlib.sha256(saved).hexdigest(), **fields)
        written = json.dumps(header.model_dump(), sort_keys=True).encode()
        with disk_errors(folder.parent):
            write_folder(folder, {self._header_name: written, self._tensors_name: saved}, mode=self._mode)

    def read(self, folder: Path, digest: str) -> tuple[H, MappedTensors] | None:
        """Header and tensors of a shard's folder; the tensors stay on disk. None: there is none.

        Raises:
            ShardCorrupt: what `damaged` makes: a file is missing, altered, of another shard or of an unknown form.
        """
        path = folder / self._tensors_name
        with disk_errors(folder.parent):
            if not folder.is_dir():
                return None
            header = self._read_header(folder)
            if header.shard != digest or not path.is_file():
                raise self.damaged(folder)

            def prove() -> None:
                if sha256_of(path) != header.sha256:
                    raise self.damaged(folder)

            return header, MappedTensors(path, self._maps, digest=digest, prove=prove)

    def _read_header(self, folder: Path) -> H:
        path = folder / self._header_name
        try:
            if path.stat().st_size > self._max_header_bytes:
                raise self.damaged(folder)
            return self._type.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError) as error:
            raise self.damaged(folder) from error
