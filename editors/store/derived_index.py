"""A shard's text index as another encoder has it: vectors and thresholds that take the place of the shard's own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from editors.store.header import ShardHeader
from editors.store.mapped import MappedTensors
from edits.errors import ShardCorrupt

TEXT_VECTORS = "scope.text"


@dataclass(frozen=True, slots=True)
class DerivedIndex:
    """What an encoder makes of the texts of one shard.

    Attributes:
        vectors: `scope.text` (m, w) under that name, for the questions of the shard's header.
        odds: by edit, log odds from which a text asks it; None for one without text.
    """

    encoder_hash: str
    vectors: Mapping[str, Tensor]
    odds: Sequence[float | None]

    def put_into(
        self, header: ShardHeader, tensors: Mapping[str, Tensor]
    ) -> tuple[ShardHeader, Mapping[str, Tensor]]:
        """A shard's header and tensors, with this index in place of their own.

        Raises:
            ShardCorrupt: it belongs to another shard.
        """
        rows = len(self.vectors[TEXT_VECTORS])
        if len(self.odds) != len(header.entries) or rows != len(header.questions):
            raise ShardCorrupt(f"an index of {len(self.odds)} edits and {rows} texts is not this shard's")
        entries = tuple(
            entry.model_copy(update={"odds": odds})
            for entry, odds in zip(header.entries, self.odds, strict=True)
        )
        changed = {"entries": entries, "encoder_hash": self.encoder_hash}
        return header.model_copy(update=changed), ReplacedTensors(tensors, TEXT_VECTORS, self.vectors)


class ReplacedTensors(Mapping[str, Tensor]):
    """Tensors of which one is another's."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str, by: Mapping[str, Tensor]) -> None:
        self._tensors, self._name, self._by = tensors, name, by

    def __getitem__(self, name: str) -> Tensor:
        return (self._by if name == self._name else self._tensors)[name]

    def require_whole(self) -> None:
        """See `MappedTensors.require_whole`."""
        for tensors in (self._tensors, self._by):
            if isinstance(tensors, MappedTensors):
                tensors.require_whole()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
