"""Rows of a shard's vectors, read when they are needed: the index holds places, the store's files hold the numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from editors.index.head import Questions
from editors.store.derived_index import TEXT_VECTORS


class _HasText(Protocol):
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Some consecutive rows of one shard's `scope.text` (m, w), and the texts of that shard."""

    tensors: Mapping[str, Tensor]
    texts: Sequence[_HasText]
    first: int
    count: int = 1

    def read(self) -> Questions:
        """The rows, in float32."""
        rows = slice(self.first, self.first + self.count)
        return Questions([one.text for one in self.texts[rows]], self.tensors[TEXT_VECTORS][rows].float())
