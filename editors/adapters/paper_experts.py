"""The papers' experts applied: full copies, of SCEN's projection per fact and of LEMoE's FFN per batch.

SCEN (arXiv 2404.02699, inference): the expert's weight *replaces* `down_proj`. LEMoE (arXiv 2406.20030, insertion): the
expert stands *beside* the FFN, h = FFN(x) + g(i|x) f_i(x).
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editors.adapters.bank import ExpertRow
from editors.base.architectures import submodule
from editors.base.base import Base
from editors.store.shards import Shard

FFN = "lemoe.ffn."


@dataclass(frozen=True, slots=True)
class FfnGroup:
    """Rows of a batch that go through one expert: its parameters by the FFN's own names, rows (R,), weights g (R,)."""

    parameters: Mapping[str, Tensor]
    rows: Tensor
    gates: Tensor


def is_full_copy(shard: Shard) -> bool:
    """Whether a shard's experts are the papers' full copies."""
    return "scen.weight" in shard.tensors or shard.header.routing == "kv_anchor"


def ffn_parameters(shard: Shard, device: torch.device) -> dict[str, Tensor]:
    """The parameters of a shard's FFN-shaped expert, by the FFN's own names."""
    return {
        name.removeprefix(FFN): tensor.to(device)
        for name, tensor in shard.tensors.items()
        if name.startswith(FFN)
    }


@contextmanager
def apply_full_copies(base: Base, rows: Sequence[ExpertRow | None]) -> Iterator[None]:
    """While the block runs, row i of every batch goes through its expert, where that is a full copy."""
    places: dict[tuple[str, int], list[tuple[int, ExpertRow]]] = {}
    for index, expert in enumerate(rows):
        if expert is not None and is_full_copy(expert.shard):
            header = expert.shard.header
            places.setdefault((header.editor, header.layer), []).append((index, expert))
    with ExitStack() as stack:
        for (editor, layer), members in places.items():
            module = submodule(
                base.layers[layer], getattr(base.layout, "down_proj" if editor == "scen" else "ffn")
            )
            hook = _weights_hook(base, members) if editor == "scen" else _ffns_hook(base, module, members)
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def down_proj_weight(base: Base) -> Tensor:
    """A copy of the edited layer's `down_proj` weight as (d, f) in float32, whichever way the family stores it."""
    weight: Tensor = base.down_proj.weight  # type: ignore[assignment]
    # GPT-2's Conv1D keeps (in, out), every Linear keeps (out, in).
    linear = isinstance(base.down_proj, nn.Linear)
    return (weight if linear else weight.T).detach().float().clone(memory_format=torch.contiguous_format)


def replace_hook(rows: Tensor, weights: Tensor) -> Any:
    """A hook on `down_proj` that lets `rows` (R,) of the batch go through `weights` (R, d, f) in its place."""

    def hook(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        output = torch.einsum("rdf,rtf->rtd", weights.to(out.dtype), args[0][rows])
        bias: Tensor | None = module.bias  # type: ignore[assignment]
        return out.index_copy(0, rows, output if bias is None else output + bias)

    return hook


def skeleton_of(ffn: nn.Module) -> nn.Module:
    """The FFN's code without its numbers or hooks, to be called with other parameters.

    The hooks must go: the expert is called from a hook on the FFN, whose copy would call it again without end.
    """
    numbers = [*ffn.parameters(), *ffn.buffers()]
    bare = copy.deepcopy(ffn, {id(number): torch.empty_like(number, device="meta") for number in numbers})
    for module in bare.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return bare


def beside_hook(skeleton: nn.Module, groups: Sequence[FfnGroup]) -> Any:
    """A hook on the FFN: h = FFN(x) + g f(x), with each group's own g and f."""

    def hook(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        for group in groups:
            parameters = {name: p.to(out.dtype) for name, p in group.parameters.items()}
            output = torch.func.functional_call(skeleton, parameters, (args[0][group.rows],))
            out = out.index_add(0, group.rows, output * group.gates.to(out.dtype)[:, None, None])
        return out

    return hook


def _weights_hook(base: Base, members: Sequence[tuple[int, ExpertRow]]) -> Any:
    weights = torch.stack([e.shard.tensors["scen.weight"][e.row] for _, e in members])
    rows = torch.tensor([index for index, _ in members], device=base.device)
    return replace_hook(rows, weights.to(base.device, base.dtype))


def _ffns_hook(base: Base, ffn: nn.Module, members: Sequence[tuple[int, ExpertRow]]) -> Any:
    by_shard: dict[str, list[tuple[int, ExpertRow]]] = {}
    for index, expert in members:
        by_shard.setdefault(expert.shard.digest, []).append((index, expert))
    groups = [
        FfnGroup(
            ffn_parameters(batch[0][1].shard, base.device),
            torch.tensor([index for index, _ in batch], device=base.device),
            torch.tensor([expert.gate for _, expert in batch], device=base.device),
        )
        for batch in by_shard.values()
    ]
    return beside_hook(skeleton_of(ffn), groups)
