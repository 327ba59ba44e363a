"""LEMoE's KV-anchor routing: a prompt's mean token embedding, projected, goes to the batch whose frozen key it meets best.

After arXiv 2406.20030:

    e = mean of the frozen embeddings of the prompt's tokens          (d,)
    v = W_up SiLU(W_down e)                                           (v,)
    g = Top1(softmax_i(k_i . v))

k_i is the key of batch i, frozen once assigned. The literal formula has no answer to "no expert"; with deferral a prompt
whose best logit lies under a number calibrated on unrelated text (`kv.null`) goes to the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.adapters.bank import ExpertRow
from editors.base.base import Base, length_sorted_chunks
from editors.routing.scope_router import UNROUTED, Route
from editors.store.shards import Shard
from edits.prompts import Prompt

POOLING_ROWS = 64


@dataclass(frozen=True, slots=True)
class Projection:
    """W_down (u, d) and W_up (v, u)."""

    w_down: Tensor
    w_up: Tensor

    def __call__(self, e: Tensor) -> Tensor:
        """v = W_up SiLU(W_down e): (n, d) -> (n, v)."""
        return torch.nn.functional.silu(e @ self.w_down.T) @ self.w_up.T

    @classmethod
    def of(cls, shard: Shard, device: torch.device) -> "Projection":
        """That of a shard, on a device."""
        return cls(*(shard.tensors[name].to(device) for name in ("kv.w_down", "kv.w_up")))


def pool(base: Base, rows: Sequence[Sequence[int]], *, ignore_padding: bool) -> Tensor:
    """e (n, d) in float32: mean frozen embeddings of rows of token ids.

    Args:
        ignore_padding: false pools the whole padded row, as a batched mean over the sequence does; then the rows that
            happen to stand beside a prompt decide its route.
    """
    table = base.model.get_input_embeddings().weight
    pooled: list[Tensor] = [torch.empty(0)] * len(rows)
    for chunk in length_sorted_chunks(rows, POOLING_ROWS):
        ids, mask = base.pad([rows[i] for i in chunk], side="right")
        weight = mask if ignore_padding else torch.ones_like(mask)
        embedded = table[ids].float() * weight[..., None]
        means = embedded.sum(1) / weight.sum(1, keepdim=True)
        for n, index in enumerate(chunk):
            pooled[index] = means[n].detach()
    return torch.stack(pooled)


def logits(
    e: Tensor, keys: Tensor, projection: Projection, own: Sequence[Projection | None] | None = None
) -> Tensor:
    """k_i . v: e (n, d), keys (t, v) -> (n, t).

    Args:
        own: with own projections, key i's own frozen one (None: `projection`, the one in training).
    """
    if own is None:
        return projection(e) @ keys.T
    columns = [(p or projection)(e) @ key for p, key in zip(own, keys, strict=True)]
    return torch.stack(columns, dim=1)


class AnchorRouter:
    """Top-1 over the batches that have a live edit; within the batch, the edit with the nearest e gives its name.

    A batch's expert is one: while any of its edits is live, a prompt of one that was taken back still goes there, under
    a batch-mate's name. The projection is that of the newest batch that is live.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._experts: dict[str, ExpertRow] = {}

    def add(self, edit_id: str, expert: ExpertRow) -> None:
        self._experts[edit_id] = expert

    def remove(self, edit_id: str) -> None:
        del self._experts[edit_id]

    def __len__(self) -> int:
        return len(self._experts)

    def route(self, prompts: Sequence[Prompt]) -> list[Route]:
        device = self._base.device
        batches = in_order(self._experts)
        newest = batches[-1].shard
        settings = newest.header.settings
        rows = [self._base.prompt_ids(prompt) for prompt in prompts]
        e = pool(self._base, rows, ignore_padding=bool(settings["ignore_padding"]))
        keys = torch.stack([batch.shard.tensors["kv.key"] for batch in batches]).to(device)
        own = [Projection.of(b.shard, device) for b in batches] if settings["own_projection"] else None
        floor = float(newest.tensors["kv.null"]) if "kv.null" in newest.tensors else float("-inf")
        given = logits(e, keys, Projection.of(newest, device), own)
        highest = given.max(dim=1)
        weights = given.softmax(dim=1).max(dim=1).values.tolist()
        routes = [UNROUTED] * len(prompts)
        for i, (logit, winner) in enumerate(
            zip(highest.values.tolist(), highest.indices.tolist(), strict=True)
        ):
            if logit >= floor:
                gate = 1.0 if settings["force_own_expert"] else weights[i]
                routes[i] = Route(batches[winner].nearest(e[i]), weights[i], gate)
        return routes


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """A batch with at least one live edit."""

    shard: Shard
    edit_ids: tuple[str, ...]
    rows: tuple[int, ...]

    def nearest(self, e: Tensor) -> str:
        """The live edit whose stored e is most like this one (d,)."""
        stored = self.shard.tensors["kv.e"][list(self.rows)].to(e.device)
        return self.edit_ids[int(torch.nn.functional.cosine_similarity(stored, e[None], dim=-1).argmax())]


def in_order(experts: dict[str, ExpertRow]) -> list[LiveBatch]:
    """The batches of some live edits, in the order in which they were trained."""
    by_shard: dict[str, list[tuple[str, ExpertRow]]] = {}
    for edit_id, expert in experts.items():
        by_shard.setdefault(expert.shard.digest, []).append((edit_id, expert))
    batches = [
        LiveBatch(members[0][1].shard, tuple(e for e, _ in members), tuple(x.row for _, x in members))
        for members in by_shard.values()
    ]
    return sorted(batches, key=lambda batch: (batch.shard.header.sequence, batch.shard.digest))
