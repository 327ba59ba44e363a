"""Rows of a stored shard's header, packed: they take a tenth of what objects take, and are read when they are asked for."""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, TypeVar, overload

from pydantic import BaseModel

# Rows that are packed together: one is read in some 20 microseconds, and the next ones are alike.
BLOCK = 16
_LEVEL = 1  # of zlib: what more would save is a few bytes a row

_Row = TypeVar("_Row", bound=BaseModel)


class PackedRows(Sequence[_Row], Generic[_Row]):
    """Validated models of one type, in order; each reading makes them anew, equal to those that were packed."""

    __slots__ = ("_blocks", "_count", "_form")

    def __init__(self, form: type[_Row], rows: Iterable[_Row]) -> None:
        self._form = form
        self._count = 0
        fields = attrgetter(*form.model_fields)
        blocks = []
        iterator = map(fields, rows)
        while block := list(islice(iterator, BLOCK)):
            self._count += len(block)
            blocks.append(zlib.compress(json.dumps(block, separators=(",", ":")).encode(), _LEVEL))
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
        found: _Row = _read(self._form, self._blocks[block], row)
        return found

    def __iter__(self) -> Iterator[_Row]:
        return (self[n] for n in range(self._count))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that is compared by its members


# Of a prompt, or while edits are added, one row is asked for several times and its neighbours next.
@lru_cache(maxsize=1024)
def _read(form: type[BaseModel], block: bytes, row: int) -> Any:
    return form.model_validate(dict(zip(_names(form), _unpack(block)[row], strict=True)))


@lru_cache(maxsize=64)
def _unpack(block: bytes) -> list[list[Any]]:
    return list(json.loads(zlib.decompress(block)))


@cache
def _names(form: type[BaseModel]) -> tuple[str, ...]:
    return tuple(form.model_fields)
