"""Rows of a stored shard's header, packed: they take a tenth of what objects take, and are read when they are asked for."""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Generic, TypeVar, overload

from pydantic import BaseModel

# Rows that are packed together: one is read in some 20 microseconds, and the next ones are alike.
BLOCK = 16
_LEVEL = 1  # of zlib: what more would save is a few bytes a row

_Row = TypeVar("_Row", bound=BaseModel)


class PackedRows(Sequence[_Row], Generic[_Row]):
    """Validated models of one type, in order; each reading makes them anew, equal to those that were packed."""

    def __init__(self, form: type[_Row], rows: Iterable[_Row]) -> None:
        self._form = form
        self._count = 0
        blocks = []
        iterator = iter(rows)
        while block := list(islice(iterator, BLOCK)):
            self._count += len(block)
            blocks.append(_pack(block))
        self._blocks = tuple(blocks)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> _Row: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[_Row, ...]: ...

    def __getitem__(self, place: int | slice) -> _Row | tuple[_Row, ...]:
        if isinstance(place, slice):
            return tuple(self[n] for n in range(*place.indices(self._count)))
        if not -self._count <= place < self._count:
            raise IndexError(place)
        block, row = divmod(place % self._count, BLOCK)
        return self._read(_unpack(self._blocks[block])[row])

    def __iter__(self) -> Iterator[_Row]:
        for block in self._blocks:
            yield from map(self._read, _unpack(block))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that is compared by its members

    def _read(self, values: Sequence[Any]) -> _Row:
        return self._form.model_validate(dict(zip(self._form.model_fields, values, strict=True)))


def _pack(rows: Sequence[BaseModel]) -> bytes:
    fields = [[getattr(row, name) for name in type(row).model_fields] for row in rows]
    return zlib.compress(json.dumps(fields, separators=(",", ":")).encode(), _LEVEL)


@lru_cache(maxsize=256)
def _unpack(block: bytes) -> list[list[Any]]:
    """The fields of a block's rows. Kept of the blocks that were read last: a prompt reads one edit several times."""
    return list(json.loads(zlib.decompress(block)))
