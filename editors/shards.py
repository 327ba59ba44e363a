"""The shard: what one batch of edits became. Immutable, content-addressed, safetensors and JSON only.

A shard is a folder named by its digest with two files: `shard.json` (who, where, what each row is) and
`shard.safetensors` (the weights, one row per edit where a tensor is per edit).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from editors.errors import ShardCorrupt

MAX_HEADER_BYTES = 256 * 1024 * 1024
# Weights are rounded to this type before they are scored, so that what was verified is what is stored.
STORED_DTYPE = torch.float16


class ShardEntry(BaseModel):
    """One edit of a shard: row i of every per-edit tensor belongs to `entries[i]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edit_id: str = Field(min_length=1, max_length=200)
    surface_forms: tuple[str, ...] = Field(min_length=1, max_length=64)
    base_answer_ids: tuple[int, ...] = Field(min_length=1, max_length=256)
    confidence: float = Field(ge=0.0, le=1.0)
    threshold: float = Field(ge=0.0, le=1.0)


class ShardHeader(BaseModel):
    """What the weights mean: which editor made them, for which base and which layer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    editor: str = Field(max_length=50)
    base_hash: str = Field(max_length=100)
    layer: int = Field(ge=0, lt=10_000)
    settings: dict[str, int | float | str | bool]
    entries: tuple[ShardEntry, ...] = Field(min_length=1, max_length=100_000)


@dataclass(frozen=True)
class Shard:
    """A header and its tensors.

    Tensors by name (n edits, d hidden size, f FFN width, r rank, m expert width):
        scope.key (n, d)       hidden state entering `layer` at each prompt's last token
        scen.a (n, r, f), scen.b (n, d, r)
        lemoe.w_in (m, d), lemoe.w_out (d, m), lemoe.gate (n, m)
    """

    header: ShardHeader
    tensors: Mapping[str, Tensor]

    @cached_property
    def payload(self) -> tuple[bytes, bytes]:
        """The two files' bytes: canonical JSON and safetensors."""
        header = json.dumps(self.header.model_dump(mode="json"), sort_keys=True, ensure_ascii=False).encode()
        # Copies: safetensors refuses tensors that are views of one storage.
        weights = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in sorted(self.tensors.items())
        }
        return header, save_tensors(weights)

    @cached_property
    def digest(self) -> str:
        """sha256 of both files: the shard's name in the store and in generations."""
        return digest_of(*self.payload)

    @property
    def edit_ids(self) -> tuple[str, ...]:
        return tuple(entry.edit_id for entry in self.header.entries)

    @property
    def size_bytes(self) -> int:
        return sum(len(part) for part in self.payload)

    def keep(self, edit_ids: Sequence[str]) -> "Shard":
        """The same shard with the rows of `edit_ids` alone; what one batch shares is kept whole."""
        wanted = set(edit_ids)
        rows = [i for i, entry in enumerate(self.header.entries) if entry.edit_id in wanted]
        if len(rows) == len(self.header.entries):
            return self
        entries = tuple(self.header.entries[i] for i in rows)
        tensors = {
            name: tensor if name in ("lemoe.w_in", "lemoe.w_out") else tensor[rows]
            for name, tensor in self.tensors.items()
        }
        return Shard(self.header.model_copy(update={"entries": entries}), tensors)


def digest_of(header: bytes, weights: bytes) -> str:
    """The content address of a shard's two files."""
    digest = hashlib.sha256(len(header).to_bytes(8, "big"))
    digest.update(header)
    digest.update(weights)
    return digest.hexdigest()


def parse_shard(header: bytes, weights: bytes, *, digest: str) -> Shard:
    """A shard from its files' bytes.

    Raises:
        ShardCorrupt: the bytes are not what `digest` names, or not of a form that this version reads.
    """
    if digest_of(header, weights) != digest:
        raise ShardCorrupt(f"shard {digest} does not match its digest: restore it from a copy or roll back")
    try:
        parsed = ShardHeader.model_validate_json(header)
        tensors = load_tensors(weights)
    except (ValidationError, SafetensorError) as error:
        raise ShardCorrupt(f"shard {digest} has a form that this version does not read: {error}") from error
    rows = len(parsed.entries)
    for name, tensor in tensors.items():
        if name not in ("lemoe.w_in", "lemoe.w_out") and tensor.shape[0] != rows:
            raise ShardCorrupt(f"shard {digest}: {name} has {tensor.shape[0]} rows for {rows} edits")
    return Shard(parsed, tensors)
