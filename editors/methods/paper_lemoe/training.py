"""The training of LEMoE as published: expert, key and projection together, by AdamW on the targets' cross-entropy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.adapters.paper_experts import FfnGroup, beside_hook, ffn_parameters, skeleton_of
from editors.base.base import Base
from editors.base.passes import Replay, answer_logits, hooked, row_losses, training_rows
from editors.methods.common.training_rows import Row
from editors.methods.paper_lemoe.router import BatchRouter, RouteExamples, route_loss
from editors.methods.paper_lemoe.settings import PaperLemoeSettings
from editors.routing.kv_anchor import LiveBatch


@dataclass(frozen=True, slots=True)
class BatchExperts:
    """Earlier batches' frozen parameters, and the new one's, by the FFN's own names."""

    frozen: Sequence[Mapping[str, Tensor]]
    new: Mapping[str, Tensor]

    def of(self, batch: int) -> Mapping[str, Tensor]:
        """The parameters of one batch's expert, by name; the newest is being trained."""
        return self.new if batch == len(self.frozen) else self.frozen[batch]


def start_experts(base: Base, earlier: Sequence[LiveBatch], *, zero_output: bool) -> BatchExperts:
    """All in float32; the new one is a copy of the FFN, whose last projection may start at zero."""
    frozen = [
        {name: p.float() for name, p in ffn_parameters(batch.shard, base.device).items()} for batch in earlier
    ]
    copies = {name: p.detach().float().clone() for name, p in base.ffn.named_parameters()}
    last = base.layout.down_proj.removeprefix(base.layout.ffn + ".")
    for name, copy in copies.items():
        if zero_output and name.startswith(last + "."):
            copy.zero_()
    return BatchExperts(frozen, {name: copy.requires_grad_() for name, copy in copies.items()})


def train(
    base: Base,
    rows: Sequence[Row],
    e: Tensor,
    router: BatchRouter,
    experts: BatchExperts,
    examples: RouteExamples | None,
    settings: PaperLemoeSettings,
    report: Callable[[int, int], None],
) -> None:
    """Train `experts.new` and what the router trains, in place, on rows whose e (n, d) routes them."""
    s = settings
    groups = [
        {"params": list(experts.new.values()), "lr": s.learning_rate},
        {"params": router.trained, "lr": s.route_learning_rate},
    ]
    adam = torch.optim.AdamW(groups, weight_decay=s.weight_decay)
    laid = training_rows(base, rows)
    replay = Replay(base, laid.ids, laid.mask)
    skeleton = skeleton_of(base.ffn)
    for step in range(s.steps):
        routed = _routed(router(e), experts, force_own=s.force_own_expert)
        with hooked(base.ffn, beside_hook(skeleton, routed)):
            answers = answer_logits(base, replay.hidden(), laid.positions)
        loss = row_losses(answers, laid.targets).mean()
        if examples is not None:
            loss = loss + route_loss(router(examples.e), examples.batch)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        report(step, s.steps)


def _routed(given: Tensor, experts: BatchExperts, *, force_own: bool) -> list[FfnGroup]:
    """The batch's rows by the expert that they go through: logits (n, t)."""
    if force_own:
        rows = torch.arange(len(given), device=given.device)
        return [FfnGroup(experts.new, rows, torch.ones(len(given), device=given.device))]
    g = given.softmax(dim=1).max(dim=1)
    groups = []
    for batch in sorted(set(g.indices.tolist())):
        rows = (g.indices == batch).nonzero().squeeze(1)
        groups.append(FfnGroup(experts.of(batch), rows, g.values[rows]))
    return groups
