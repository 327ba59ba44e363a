"""Rows of a shard's vectors, read when they are needed: the index holds places, the store's files hold the numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

TEXT_VECTORS = "scope.text"


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Some consecutive rows of one shard's `scope.text` (m, w)."""

    tensors: Mapping[str, Tensor]
    first: int
    count: int = 1

    def read(self) -> Tensor:
        """The rows as (count, w) in float32."""
        return self.tensors[TEXT_VECTORS][self.first : self.first + self.count].float()
