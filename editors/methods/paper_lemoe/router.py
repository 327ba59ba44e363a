"""What routes a batch of LEMoE as published while it is trained: earlier batches' frozen keys, and its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.base.base import Base
from editors.methods.paper_lemoe.settings import PaperLemoeSettings
from editors.routing.kv_anchor import LiveBatch, Projection, logits, pool
from editors.routing.unrelated import UNRELATED


@dataclass(frozen=True, slots=True)
class BatchRouter:
    """Frozen keys (t-1, v) and projections of earlier batches, and what is trained of batch t."""

    frozen_keys: Tensor
    frozen_own: Sequence[Projection] | None
    key: Tensor
    projection: Projection

    def __call__(self, e: Tensor) -> Tensor:
        """Logits (n, t) of e (n, d); the last column is the batch's own."""
        own = None if self.frozen_own is None else [*self.frozen_own, None]
        return logits(e, torch.cat([self.frozen_keys, self.key[None]]), self.projection, own)

    @property
    def trained(self) -> list[Tensor]:
        return [self.key, self.projection.w_down, self.projection.w_up]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a shard keeps of it."""
        named = zip(("kv.key", "kv.w_down", "kv.w_up"), self.trained, strict=True)
        return {name: tensor.detach().cpu() for name, tensor in named}


@dataclass(frozen=True, slots=True)
class RouteExamples:
    """What the route learns as a classification: e (m, d) and the batch that each belongs to; -1: none."""

    e: Tensor
    batch: Tensor


def next_sequence(earlier: Sequence[LiveBatch]) -> int:
    """How many batches the projection has seen before this one."""
    return earlier[-1].shard.header.sequence + 1 if earlier else 0


def start_router(base: Base, earlier: Sequence[LiveBatch], settings: PaperLemoeSettings) -> BatchRouter:
    """A random key; the projection of the newest earlier batch, or a random one where each batch has its own."""
    s, device, d = settings, base.device, base.hidden_size
    generator = torch.Generator().manual_seed(s.seed + next_sequence(earlier))

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    key = drawn(s.key_width)
    if earlier and not s.own_projection:
        projection = Projection.of(earlier[-1].shard, device)
    else:
        projection = Projection(
            drawn(s.projection_width, d) / math.sqrt(d),
            drawn(s.key_width, s.projection_width) / math.sqrt(s.projection_width),
        )
    keys = [batch.shard.tensors["kv.key"].to(device) for batch in earlier]
    return BatchRouter(
        torch.stack(keys) if keys else key.new_empty(0, s.key_width),
        [Projection.of(batch.shard, device) for batch in earlier] if s.own_projection else None,
        key.requires_grad_(),
        Projection(projection.w_down.clone().requires_grad_(), projection.w_up.clone().requires_grad_()),
    )


def route_examples(
    base: Base, earlier: Sequence[LiveBatch], e: Tensor, settings: PaperLemoeSettings
) -> RouteExamples | None:
    """None in the literal formula: there the route learns from the targets' loss alone."""
    if not (settings.replay or settings.force_own_expert):
        return None
    parts = [(e, len(earlier))]
    if settings.replay:
        parts += [(batch.shard.tensors["kv.e"].to(e.device), n) for n, batch in enumerate(earlier)]
    if settings.deferral:
        parts.append((_unrelated(base)[::2], -1))
    batch = torch.cat([torch.full((len(part),), n) for part, n in parts])
    return RouteExamples(torch.cat([part for part, _ in parts]), batch.to(e.device))


def route_loss(given: Tensor, batch: Tensor) -> Tensor:
    """Cross-entropy of logits (m, t) with each example's batch (m,); one of no batch (-1) belongs to a slot of logit 0."""
    if (batch < 0).any():
        given = torch.cat([given, torch.zeros_like(given[:, :1])], dim=1)
        batch = torch.where(batch < 0, given.shape[1] - 1, batch)
    return torch.nn.functional.cross_entropy(given, batch)


@torch.no_grad()
def deferral_logit(base: Base, router: BatchRouter, *, false_fire: float) -> Tensor:
    """(1,): the logit over which so much of unrelated text lies; on the half that training has not seen."""
    best = router(_unrelated(base)[1::2]).max(dim=1).values
    return best.quantile(1 - false_fire).reshape(1)


def _unrelated(base: Base) -> Tensor:
    return pool(base, [base.prompt_ids(text) for text in UNRELATED], ignore_padding=True)
