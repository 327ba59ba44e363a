"""Adapters applied: forward hooks that add each row's own expert to the base's FFN, and take themselves away again."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editors.adapters.bank import ExpertBank, ExpertRow
from editors.adapters.paper_experts import apply_full_copies, is_full_copy
from editors.base.architectures import submodule
from editors.base.base import Base
from editors.store.shards import Shard


def low_rank_delta(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """SCEN's expert W + BA as a delta: x (B, T, f), a (B, r, f), b (B, d, r) -> (B, T, d)."""
    return torch.bmm(torch.bmm(x, a.mT), b.mT)


@dataclass(frozen=True, slots=True)
class ExpertForm:
    """How experts of one form act.

    Attributes:
        beside_ffn: the FFN's output is changed; else that of its last projection.
        tensors: what such an expert keeps in its shard.
        act: (module's input (B, T, in), its output (B, T, d), the stacked tensors) -> the new output (B, T, d).
    """

    beside_ffn: bool
    tensors: tuple[str, ...]
    act: Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]

    def module(self, base: Base, layer: int) -> torch.nn.Module:
        """Where such experts are added: the whole FFN of a layer, or its last projection."""
        return submodule(base.layers[layer], base.layout.ffn if self.beside_ffn else base.layout.down_proj)


def _low_rank(x: Tensor, out: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    return torch.baddbmm(out, torch.bmm(x, w["scen.a"].mT), w["scen.b"].mT)


def _gated(x: Tensor, out: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    z = torch.baddbmm(w["lemoe.gate"][:, None], x, w["lemoe.w_in"].mT)
    return torch.baddbmm(out, torch.nn.functional.silu(z, inplace=True), w["lemoe.w_out"].mT)


SCEN = ExpertForm(False, ("scen.a", "scen.b"), _low_rank)
LEMOE = ExpertForm(True, ("lemoe.w_in", "lemoe.w_out", "lemoe.gate"), _gated)


def form_of(shard: Shard) -> ExpertForm | None:
    """The form of a shard's experts; None: the papers' full copies, which never enter the bank."""
    if is_full_copy(shard):
        return None
    return SCEN if "scen.a" in shard.tensors else LEMOE


def groups_that_fit(bank: ExpertBank, rows: Sequence[ExpertRow | None]) -> list[list[int]]:
    """Places of `rows` in groups whose experts fit into the bank together, those of one form beside each other.

    Raises:
        BadRequest: a single expert is larger than the bank.
    """
    order = sorted(range(len(rows)), key=lambda i: _place_rank(rows[i]))
    fitting = bank.groups([rows[i] for i in order], _tensors_of)
    return [[order[i] for i in group] for group in fitting]


def _place_rank(expert: ExpertRow | None) -> tuple[int, int]:
    """Orders a batch's rows so that those whose experts work at one place stand beside each other."""
    form = None if expert is None else form_of(expert.shard)
    return (0, 0) if expert is None or form is None else (1 + form.beside_ffn, expert.shard.header.layer)


@contextmanager
def apply_adapters(
    base: Base, rows: Sequence[ExpertRow | None], *, bank: ExpertBank | None = None
) -> Iterator[None]:
    """While the block runs, row i of every batch goes through its expert; rows with None stay the base's.

    With no expert at all no hook is placed, so that the base runs as if Upkeep were not there.

    Args:
        bank: where experts stay on the device afterwards; without one they come from the host for this block alone.

    Raises:
        BadRequest: the experts do not fit into the bank together; see `groups_that_fit`.
    """
    used = ExpertBank(base, limit_bytes=sys.maxsize) if bank is None else bank
    with ExitStack() as stack:
        stack.enter_context(apply_full_copies(base, rows))
        for (form, layer), members in _by_place(rows).items():
            weights = stack.enter_context(used.stacked([e for _, e in members], form.tensors))
            hook = _hook(form, _rows(base, [i for i, _ in members], len(rows)), weights)
            stack.callback(form.module(base, layer).register_forward_hook(hook).remove)
        yield


def _hook(form: ExpertForm, rows: slice | Tensor | None, weights: Mapping[str, Tensor]) -> Any:
    # This runs at every token: all that can be done beforehand is done.
    def on_all(_: Any, args: tuple[Any, ...], out: Tensor) -> Tensor:
        return form.act(args[0], out, weights)

    def on_run(_: Any, args: tuple[Any, ...], out: Tensor) -> Tensor:
        out[rows] = form.act(args[0][rows], out[rows], weights)
        return out

    return on_all if rows is None else on_run


def _rows(base: Base, members: Sequence[int], batch: int) -> slice | Tensor | None:
    """How to take these rows of a batch: all of them (None), a run of them, or by index."""
    if len(members) == batch:
        return None
    if members[-1] - members[0] + 1 == len(members):
        return slice(members[0], members[-1] + 1)
    return torch.tensor(members, device=base.device)


def _by_place(rows: Sequence[ExpertRow | None]) -> dict[tuple[ExpertForm, int], list[tuple[int, ExpertRow]]]:
    places: dict[tuple[ExpertForm, int], list[tuple[int, ExpertRow]]] = {}
    for index, expert in enumerate(rows):
        form = None if expert is None else form_of(expert.shard)
        if expert is not None and form is not None:
            places.setdefault((form, expert.shard.header.layer), []).append((index, expert))
    return places


def _tensors_of(shard: Shard) -> tuple[str, ...]:
    form = form_of(shard)
    return () if form is None else form.tensors
