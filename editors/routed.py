"""Experts at work: forward hooks that add each row's own expert to the base's FFN, and take themselves away again."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editors.architectures import submodule
from editors.base import Base
from editors.shards import Shard


@dataclass(frozen=True, slots=True)
class ExpertRow:
    """One edit's expert: a shard and the row in it."""

    shard: Shard
    row: int


def low_rank_delta(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """SCEN's expert W + BA as a delta: x (B, T, f), a (B, r, f), b (B, d, r) -> (B, T, d)."""
    return torch.einsum("bdr,btr->btd", b, torch.einsum("brf,btf->btr", a, x))


def gated_delta(x: Tensor, w_in: Tensor, gate: Tensor, w_out: Tensor) -> Tensor:
    """LEMoE's expert W_out SiLU(W_in x + g): x (B, T, d), w_in (B, m, d), gate (B, m), w_out (B, d, m)."""
    z = torch.nn.functional.silu(torch.einsum("bmd,btd->btm", w_in, x) + gate[:, None])
    return torch.einsum("bdm,btm->btd", w_out, z)


@contextmanager
def experts_at_work(base: Base, rows: Sequence[ExpertRow | None]) -> Iterator[None]:
    """While the block runs, row i of every batch goes through its expert; rows with None stay the base's.

    With no expert at all no hook is placed, so that the base runs as if Upkeep were not there.
    """
    with ExitStack() as stack:
        for (kind, layer), members in _by_place(rows).items():
            index = torch.tensor([i for i, _ in members], device=base.device)
            experts = [expert for _, expert in members]
            place = base.layout.down_proj if kind == "scen" else base.layout.ffn
            hook = _scen_hook(base, index, experts) if kind == "scen" else _lemoe_hook(base, index, experts)
            handle = submodule(base.layers[layer], place).register_forward_hook(hook)
            stack.callback(handle.remove)
        yield


def _by_place(rows: Sequence[ExpertRow | None]) -> dict[tuple[str, int], list[tuple[int, ExpertRow]]]:
    places: dict[tuple[str, int], list[tuple[int, ExpertRow]]] = {}
    for index, expert in enumerate(rows):
        if expert is not None:
            header = expert.shard.header
            kind = "scen" if "scen.a" in expert.shard.tensors else "lemoe"
            places.setdefault((kind, header.layer), []).append((index, expert))
    return places


def _gather(base: Base, experts: Sequence[ExpertRow], name: str, *, per_edit: bool = True) -> Tensor:
    parts = [e.shard.tensors[name][e.row] if per_edit else e.shard.tensors[name] for e in experts]
    return torch.stack(parts).to(base.device, base.dtype)


def _scen_hook(base: Base, index: Tensor, experts: Sequence[ExpertRow]) -> Any:
    a, b = _gather(base, experts, "scen.a"), _gather(base, experts, "scen.b")

    def hook(_: Any, args: tuple[Any, ...], out: Tensor) -> Tensor:
        return out.index_add(0, index, low_rank_delta(args[0][index], a, b))

    return hook


def _lemoe_hook(base: Base, index: Tensor, experts: Sequence[ExpertRow]) -> Any:
    w_in, w_out = (_gather(base, experts, name, per_edit=False) for name in ("lemoe.w_in", "lemoe.w_out"))
    gate = _gather(base, experts, "lemoe.gate")

    def hook(_: Any, args: tuple[Any, ...], out: Tensor) -> Tensor:
        return out.index_add(0, index, gated_delta(args[0][index], w_in, gate, w_out))

    return hook
