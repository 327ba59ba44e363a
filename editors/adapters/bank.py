"""The expert bank: experts on the device in a bounded pool; those used longest ago are evicted, the host keeps them all."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.base.base import Base
from editors.base.devices import device_errors
from editors.store.shards import Shard, is_shared
from edits.errors import BadRequest

# Some 17,000 SCEN experts of rank 4 at the shapes of a 7B model in 16 bits.
DEFAULT_DEVICE_EXPERT_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class ExpertRow:
    """One edit's expert: a shard, the row in it, and the weight g of what it adds (1 but in LEMoE's paper mode)."""

    shard: Shard
    row: int
    gate: float = 1.0

    def host_tensor(self, name: str) -> Tensor:
        """This expert's part of one of the shard's tensors, where the shard keeps it."""
        tensor = self.shard.tensors[name]
        return tensor if is_shared(name) else tensor[self.row]


# A shard, one of its tensors, and the row in it; -1 where the whole batch shares the tensor.
_Key = tuple[int, str, int]


class ExpertBank:
    """Brings experts to the device, in the base's type, and keeps there what fits.

    Promises: `held_bytes` never exceeds `limit_bytes`, which covers the pages that are kept and the stacks that a batch
    at work reads. Not safe to share between threads.
    """

    def __init__(self, base: Base, *, limit_bytes: int = DEFAULT_DEVICE_EXPERT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.peak_bytes = 0
        self._base = base
        self._pages: OrderedDict[_Key, Tensor] = OrderedDict()
        self._shards: dict[int, weakref.ref[Shard]] = {}
        self._page_bytes = 0
        self._stack_bytes = 0
        self._in_use: set[_Key] = set()

    @property
    def held_bytes(self) -> int:
        """Device bytes of experts at this moment."""
        return self._page_bytes + self._stack_bytes

    def groups(
        self, experts: Sequence[ExpertRow | None], names: Callable[[Shard], Sequence[str]]
    ) -> Iterator[list[int]]:
        """Cut a batch into runs of rows whose experts fit on the device together: one run, in all but rare cases.

        Args:
            names: the tensors that an expert of this shard works with.

        Raises:
            BadRequest: a single expert is larger than the bank.
        """
        group: list[int] = []
        left = self.limit_bytes
        for index, expert in enumerate(experts):
            need = 0 if expert is None else self._need(expert, names(expert.shard))
            if need > self.limit_bytes:
                raise BadRequest(
                    f"one expert needs {need} bytes on the device, the bank has {self.limit_bytes}: "
                    "raise model.bank_bytes"
                )
            if need > left:
                yield group
                group, left = [], self.limit_bytes
            group.append(index)
            left -= need
        if group:
            yield group

    @contextmanager
    def stacked(self, experts: Sequence[ExpertRow], names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """While the block runs: tensor i of each name (B, ...) is that of `experts[i]`, on the device.

        Raises:
            BadRequest: they do not fit; see `groups`.
            DeviceBusy: out of device memory.
        """
        keys = {name: [_key(expert, name) for expert in experts] for name in names}
        mine = {key for of_name in keys.values() for key in of_name} - self._in_use
        self._in_use |= mine
        stack_bytes = 0
        try:
            stacks: dict[str, Tensor] = {}
            for name in names:
                pages = [self._page(key, e, name) for key, e in zip(keys[name], experts, strict=True)]
                size = sum(page.nbytes for page in pages)
                self._evict_for(size)
                with device_errors():
                    stacks[name] = torch.stack(pages)
                stack_bytes += size
                self._stack_bytes += size
                self.peak_bytes = max(self.peak_bytes, self.held_bytes)
            yield stacks
        finally:
            self._stack_bytes -= stack_bytes
            self._in_use -= mine

    def _need(self, expert: ExpertRow, names: Sequence[str]) -> int:
        """Bytes of one expert while its batch is at work: its pages and its part of the stacks."""
        size = self._base.dtype.itemsize
        return sum(2 * size * expert.host_tensor(name).numel() for name in names)

    def _page(self, key: _Key, expert: ExpertRow, name: str) -> Tensor:
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
            return page
        stored = expert.host_tensor(name)
        self._evict_for(stored.numel() * self._base.dtype.itemsize)
        with device_errors():
            page = stored.to(self._base.device, self._base.dtype, copy=True)
        self._pages[key] = page
        self._page_bytes += page.nbytes
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        self._follow(expert.shard)
        return page

    def _evict_for(self, size: int) -> None:
        if self.held_bytes + size <= self.limit_bytes:
            return
        for key in list(self._pages):
            if key not in self._in_use:
                self._drop(key)
            if self.held_bytes + size <= self.limit_bytes:
                return
        raise BadRequest(
            f"the experts of one batch do not fit into the {self.limit_bytes} bytes of the bank: "
            "use smaller batches or raise model.bank_bytes"
        )

    def _drop(self, key: _Key) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._page_bytes -= page.nbytes

    def _follow(self, shard: Shard) -> None:
        """Pages go when their shard goes: when none of its edits is live any more, nothing holds it."""
        place = id(shard)
        if place not in self._shards:
            bank = weakref.ref(self)

            def gone(_: object) -> None:
                alive = bank()
                if alive is not None:
                    alive._forget(place)

            self._shards[place] = weakref.ref(shard, gone)

    def _forget(self, place: int) -> None:
        self._shards.pop(place, None)
        for key in list(self._pages):
            if key[0] == place:
                self._drop(key)


def _key(expert: ExpertRow, name: str) -> _Key:
    return id(expert.shard), name, -1 if is_shared(name) else expert.row
