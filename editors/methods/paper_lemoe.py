"""LEMoE as published (arXiv 2406.20030), second-hand: one FFN-shaped expert per batch, routed by KV anchor.

    insertion  h = FFN(x) + lambda sum_i g(i|x) f_i(x), lambda = 1, top-1; f_t starts as a copy of the FFN
    routing    e = mean embedding of the prompt, v = W_up SiLU(W_down e), g = Top1(softmax_i(k_i . v)); see `kv_anchor`
    batch t    experts and keys 1..t-1 are frozen; f_t, k_t and the one projection are trained; AdamW on the targets'
               cross-entropy

The literal formula has traps. Each is handled by a switch of its own; all off, the formula is taken at its word:

    replay             the projection moves with each batch, and with it v of earlier prompts, while their keys stand
    own_projection     still: the other remedy, a frozen projection W_up, W_down for each expert
    force_own_expert   at t = 1 the router has no gradient; at t > 1 an item that goes to a frozen expert trains nothing
    deferral           there is no slot for "no expert": every unrelated prompt goes through one
    pool_prompt_only   a mean over prompt and target in training is not the mean over the prompt that inference can take
    zero_output        a copy of the FFN beside it doubles the FFN at step 0
    ignore_padding     a mean over a padded row depends on the rows beside it
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from editors.adapters.paper_experts import FFN, FfnGroup, beside_hook, skeleton_of
from editors.base.base import Base
from editors.base.passes import Replay, answer_logits, training_rows
from editors.methods.training import Lesson, Progress, check_requests, lay_out, row_losses
from editors.routing.kv_anchor import LiveBatch, Projection, in_order, logits, pool
from editors.routing.parent import ParentModel
from editors.routing.unrelated import UNRELATED
from editors.store.header import ShardEntry, ShardHeader
from editors.store.shards import STORED_DTYPE, Shard
from edits.errors import BadRequest
from edits.requests import EditRequest


class PaperLemoeSettings(BaseModel):
    """The paper's numbers where it gives them, and one switch for each trap; see the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["paper"] = "paper"
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="AdamW step of the expert")
    route_learning_rate: float = Field(2e-4, gt=0, lt=1, description="AdamW step of key and projection")
    weight_decay: float = Field(0.01, ge=0, lt=1)
    steps: int = Field(100, ge=1, le=2000, description="AdamW steps per batch")
    projection_width: int = Field(64, ge=1, le=4096, description="width of W_down's output")
    key_width: int = Field(64, ge=1, le=4096, description="width of keys and of v")
    seed: int = 0
    replay: bool = Field(
        False, description="keep e of all edits and train the route as a classification on them and the batch"
    )
    own_projection: bool = Field(False, description="a projection for each expert, frozen with it")
    force_own_expert: bool = Field(
        False, description="the batch goes through its own expert with g = 1; the route is a classification"
    )
    deferral: bool = Field(False, description="what meets no key better than unrelated text goes to the base")
    pool_prompt_only: bool = Field(False, description="e of training rows without their targets")
    zero_output: bool = Field(False, description="the copy's last projection starts at zero")
    ignore_padding: bool = Field(False, description="e without padding")
    false_fire: float = Field(
        0.01, ge=0, le=1, description="share of unrelated text that deferral lets through"
    )


@dataclass(frozen=True, slots=True)
class _Router:
    """What routes batch t: frozen keys (t-1, v) and projections of earlier ones, and what is trained."""

    frozen_keys: Tensor
    frozen_own: Sequence[Projection] | None
    key: Tensor
    projection: Projection

    def __call__(self, e: Tensor) -> Tensor:
        """Logits (n, t) of e (n, d); the last column is the batch's own."""
        own = None if self.frozen_own is None else [*self.frozen_own, None]
        return logits(e, torch.cat([self.frozen_keys, self.key[None]]), self.projection, own)


@dataclass(frozen=True, slots=True)
class _Examples:
    """What the route learns as a classification: e (m, d) and the batch that each belongs to; -1: none."""

    e: Tensor
    batch: Tensor


@dataclass(frozen=True, slots=True)
class _Experts:
    """Earlier batches' frozen parameters, and the new one's, by the FFN's own names."""

    frozen: Sequence[Mapping[str, Tensor]]
    new: Mapping[str, Tensor]

    def of(self, batch: int) -> Mapping[str, Tensor]:
        return self.new if batch == len(self.frozen) else self.frozen[batch]


class PaperLemoeEditor:
    """Trains one expert, its key and the projection for a batch; see the module for how."""

    name = "lemoe"

    def __init__(self, settings: PaperLemoeSettings) -> None:
        self.settings = settings

    def apply(
        self,
        requests: Sequence[EditRequest],
        *,
        base: Base,
        parent: ParentModel | None = None,
        progress: Progress | None = None,
    ) -> Shard:
        """Train the batch's expert beside those of the batches that are live in `parent`.

        Raises:
            BadRequest: a request that cannot be learned as it stands.
            DeviceBusy: out of device memory.
        """
        check_requests(requests)
        earlier = self._earlier(base, parent)
        lesson = lay_out(base, requests, openings=0, rephrases=0, seed=self.settings.seed)
        e = self._pool(base, requests)
        router = self._router(base, earlier)
        experts = _Experts([_parameters_of(batch.shard, base) for batch in earlier], self._new_expert(base))
        self._train(base, lesson, e, router, experts, self._examples(base, earlier, e), progress)
        tensors = {
            "kv.e": e.cpu(),
            "kv.key": router.key.detach().cpu(),
            "kv.w_down": router.projection.w_down.detach().cpu(),
            "kv.w_up": router.projection.w_up.detach().cpu(),
            **{FFN + name: p.detach().cpu().to(STORED_DTYPE) for name, p in experts.new.items()},
        }
        if self.settings.deferral:
            tensors["kv.null"] = self._floor(base, router).cpu()
        return Shard(self._header(base, requests, earlier), tensors)

    def _earlier(self, base: Base, parent: ParentModel | None) -> list[LiveBatch]:
        """The live batches, which must be routed as this one will be.

        Raises:
            BadRequest: they were trained for another layer or by other switches.
        """
        earlier = in_order(parent.experts("kv_anchor")) if parent is not None else []
        fixed = {"projection_width", "key_width", "own_projection", "force_own_expert", "ignore_padding"}
        own = self.settings.model_dump(include=fixed)
        for batch in earlier:
            header = batch.shard.header
            if header.layer != base.layer or {name: header.settings.get(name) for name in fixed} != own:
                raise BadRequest(
                    "LEMoE's paper mode has one router for all batches: keep model.layer and "
                    f"{', '.join(f'editors.lemoe.{name}' for name in sorted(fixed))} as they were, or roll back"
                )
        return earlier

    def _header(
        self, base: Base, requests: Sequence[EditRequest], earlier: Sequence[LiveBatch]
    ) -> ShardHeader:
        return ShardHeader(
            editor=self.name,
            routing="kv_anchor",
            sequence=earlier[-1].shard.header.sequence + 1 if earlier else 0,
            base_hash=base.hash,
            layer=base.layer,
            settings=self.settings.model_dump(),
            entries=tuple(
                ShardEntry(edit_id=r.edit_id, surface_forms=r.surface_forms, threshold=0.0) for r in requests
            ),
        )

    def _pool(self, base: Base, requests: Sequence[EditRequest]) -> Tensor:
        """e (n, d) of the batch, as training takes it."""
        rows = []
        for request in requests:
            prompt_ids = base.prompt_ids(request.prompt)
            target_ids = base.answer_ids(request.prompt, request.target_new, prompt_ids=prompt_ids)
            rows.append(prompt_ids if self.settings.pool_prompt_only else prompt_ids + target_ids)
        return pool(base, rows, ignore_padding=self.settings.ignore_padding)

    def _router(self, base: Base, earlier: Sequence[LiveBatch]) -> _Router:
        s, device = self.settings, base.device
        generator = torch.Generator().manual_seed(
            s.seed + (earlier[-1].shard.header.sequence + 1 if earlier else 0)
        )

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(device)

        key = drawn(s.key_width)
        if earlier and not s.own_projection:
            projection = Projection.of(earlier[-1].shard, device)
        else:
            projection = Projection(
                drawn(s.projection_width, base.hidden_size) / math.sqrt(base.hidden_size),
                drawn(s.key_width, s.projection_width) / math.sqrt(s.projection_width),
            )
        keys = [batch.shard.tensors["kv.key"].to(device) for batch in earlier]
        return _Router(
            torch.stack(keys) if keys else key.new_empty(0, s.key_width),
            [Projection.of(batch.shard, device) for batch in earlier] if s.own_projection else None,
            key.requires_grad_(),
            Projection(projection.w_down.clone().requires_grad_(), projection.w_up.clone().requires_grad_()),
        )

    def _new_expert(self, base: Base) -> dict[str, Tensor]:
        """A copy of the FFN's parameters, in float32."""
        copies = {name: p.detach().float().clone() for name, p in base.ffn.named_parameters()}
        if self.settings.zero_output:
            last = base.layout.down_proj.removeprefix(base.layout.ffn + ".")
            for name, copy in copies.items():
                if name.startswith(last + "."):
                    copy.zero_()
        return {name: copy.requires_grad_() for name, copy in copies.items()}

    def _examples(self, base: Base, earlier: Sequence[LiveBatch], e: Tensor) -> _Examples | None:
        """None in the literal formula: there the route learns from the targets' loss alone."""
        s = self.settings
        if not (s.replay or s.force_own_expert):
            return None
        parts = [(e, len(earlier))]
        if s.replay:
            parts += [(batch.shard.tensors["kv.e"].to(e.device), n) for n, batch in enumerate(earlier)]
        if s.deferral:
            parts.append((_unrelated(base)[::2], -1))
        batch = torch.cat([torch.full((len(part),), n) for part, n in parts])
        return _Examples(torch.cat([part for part, _ in parts]), batch.to(e.device))

    def _train(
        self,
        base: Base,
        lesson: Lesson,
        e: Tensor,
        router: _Router,
        experts: _Experts,
        examples: _Examples | None,
        progress: Progress | None,
    ) -> None:
        s = self.settings
        groups = [
            {"params": list(experts.new.values()), "lr": s.learning_rate},
            {
                "params": [router.key, router.projection.w_down, router.projection.w_up],
                "lr": s.route_learning_rate,
            },
        ]
        adam = torch.optim.AdamW(groups, weight_decay=s.weight_decay)
        rows = training_rows(base, lesson.plain)
        replay = Replay(base, rows.ids, rows.mask)
        skeleton = skeleton_of(base.ffn)
        for step in range(s.steps):
            routed = self._groups(router(e), experts)
            handle = base.ffn.register_forward_hook(beside_hook(skeleton, routed))
            try:
                answers = answer_logits(base, replay.hidden(), rows.positions)
            finally:
                handle.remove()
            loss = row_losses(answers, rows.targets).mean()
            if examples is not None:
                loss = loss + route_loss(router(examples.e), examples.batch)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            if progress is not None:
                progress("train", step, s.steps)

    def _groups(self, given: Tensor, experts: _Experts) -> list[FfnGroup]:
        """The batch's rows by the expert that they go through: logits (n, t)."""
        if self.settings.force_own_expert:
            rows = torch.arange(len(given), device=given.device)
            return [FfnGroup(experts.new, rows, torch.ones(len(given), device=given.device))]
        g = given.softmax(dim=1).max(dim=1)
        groups = []
        for batch in sorted(set(g.indices.tolist())):
            rows = (g.indices == batch).nonzero().squeeze(1)
            groups.append(FfnGroup(experts.of(batch), rows, g.values[rows]))
        return groups

    @torch.no_grad()
    def _floor(self, base: Base, router: _Router) -> Tensor:
        """(1,): the logit over which `false_fire` of unrelated text lies; on the half that training has not seen."""
        best = router(_unrelated(base)[1::2]).max(dim=1).values
        return best.quantile(1 - self.settings.false_fire).reshape(1)


def route_loss(given: Tensor, batch: Tensor) -> Tensor:
    """Cross-entropy of logits (m, t) with each example's batch (m,); one of no batch (-1) belongs to a slot of logit 0."""
    if (batch < 0).any():
        given = torch.cat([given, torch.zeros_like(given[:, :1])], dim=1)
        batch = torch.where(batch < 0, given.shape[1] - 1, batch)
    return torch.nn.functional.cross_entropy(given, batch)


def _parameters_of(shard: Shard, base: Base) -> dict[str, Tensor]:
    return {
        name[len(FFN) :]: tensor.to(base.device).float()
        for name, tensor in shard.tensors.items()
        if name.startswith(FFN)
    }


def _unrelated(base: Base) -> Tensor:
    return pool(base, [base.prompt_ids(text) for text in UNRELATED], ignore_padding=True)
