"""SCEN as published (arXiv 2404.02699): a full copy of `down_proj` and one indexing neuron per fact, one fact at a time.

    stage 1    W_i <- W;  Adam on W_i alone, cross-entropy of the target's tokens and the end given the prompt
    stage 2    w_i, s(h) = sigmoid(w_i . h);  Adam on the three losses of `neurons.index_loss` over fact i and all before it
    inference  argmax_i s_i at the prompt's last token; over theta, W_i replaces W for the prompt and all that follows

It is the baseline of every table. What is wasteful here is the paper's: one fact at a time, the whole model in each step,
and in stage 2 the whole model over the whole history in each step of each fact, O(N^2) passes.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from editors.adapters.paper_experts import down_proj_weight, replace_hook
from editors.base.base import Base, device_errors
from editors.base.passes import training_rows
from editors.methods.training import Progress, check_requests, row_losses
from editors.routing.neurons import (
    IndexedFact,
    activations,
    earlier_facts,
    neuron_entries,
    neuron_tensors,
    train_neuron,
)
from editors.routing.parent import ParentModel
from editors.store.header import ShardHeader
from editors.store.shards import STORED_DTYPE, Shard
from edits.requests import EditRequest


class PaperScenSettings(BaseModel):
    """The paper's numbers but for its two rates.

    Adam moves each weight by its rate, and a projection sums over its width: 11,008 in the paper's Llama-2-7B. On the base
    of width 528 that Upkeep is measured on, 1e-4 teaches nothing (reliability .00, neurons' scores .60); 2e-3 is the
    same change of the output per step, and 4e-4 serves the neurons best. For a base of the paper's size set both to 1e-4.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["paper"] = "paper"
    learning_rate: float = Field(2e-3, gt=0, lt=1, description="Adam step of stage 1; the paper: 1e-4")
    steps: int = Field(10, ge=1, le=1000, description="Adam steps of stage 1 per fact")
    neuron_learning_rate: float = Field(4e-4, gt=0, lt=1, description="Adam step of stage 2; the paper: 1e-4")
    neuron_steps: int = Field(20, ge=1, le=1000, description="Adam steps of stage 2 per fact")
    theta: float = Field(0.65, ge=0, le=1, description="a neuron's score must be over this to fire")
    cached_activations: bool = Field(
        False,
        description="read history's activations once, not in every step: the same neurons, without the passes",
    )
    seed: int = Field(0, description="changes nothing: copies and neurons start from no random numbers")


class PaperScenEditor:
    """Trains one full copy and one neuron per fact, in order; see the module for how."""

    name = "scen"

    def __init__(self, settings: PaperScenSettings) -> None:
        self.settings = settings

    def apply(
        self,
        requests: Sequence[EditRequest],
        *,
        base: Base,
        parent: ParentModel | None = None,
        progress: Progress | None = None,
    ) -> Shard:
        """Train experts, then neurons; the negatives of the first are the facts that are live in `parent`.

        Raises:
            BadRequest: a request that cannot be learned as it stands.
            DeviceBusy: out of device memory.
        """
        check_requests(requests)
        weights = torch.empty(len(requests), base.hidden_size, base.ffn_width, dtype=STORED_DTYPE)
        for index, request in enumerate(requests):
            weights[index] = self._train_expert(base, request)
            if progress is not None:
                progress("train", index, 2 * len(requests))
        facts = earlier_facts(base, parent)
        neurons: list[Tensor] = []
        for index, request in enumerate(requests):
            prompt_ids = base.prompt_ids(request.prompt)
            facts.append(IndexedFact(prompt_ids, activations(base, [prompt_ids])[0]))
            neurons.append(self._train_neuron(base, facts))
            if progress is not None:
                progress("train", len(requests) + index, 2 * len(requests))
        return self._shard(base, requests, weights, neurons, facts[-len(requests) :])

    def _train_expert(self, base: Base, request: EditRequest) -> Tensor:
        """Stage 1: the fact's own copy of `down_proj` (d, f)."""
        prompt_ids = base.prompt_ids(request.prompt)
        answer_ids = base.answer_ids(request.prompt, request.target_new, prompt_ids=prompt_ids)
        rows = training_rows(base, [(0, prompt_ids, answer_ids)])
        weight = down_proj_weight(base).requires_grad_()
        adam = torch.optim.Adam([weight], lr=self.settings.learning_rate)
        row = torch.zeros(1, dtype=torch.long, device=base.device)
        for _ in range(self.settings.steps):
            handle = base.down_proj.register_forward_hook(replace_hook(row, weight[None]))
            try:
                with device_errors():
                    logits = base.model(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False).logits
            finally:
                handle.remove()
            loss = row_losses(logits[:, rows.positions[0]].float(), rows.targets).sum()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        return weight.detach().cpu()

    def _train_neuron(self, base: Base, facts: Sequence[IndexedFact]) -> Tensor:
        """Stage 2: the neuron (f,) of the last of `facts`; all before it are negatives."""
        rows = [fact.prompt_ids for fact in facts]
        cached = torch.stack([fact.h for fact in facts])

        def read() -> tuple[Tensor, Tensor]:
            h = cached if self.settings.cached_activations else activations(base, rows)
            return h[-1], h[:-1]

        s = self.settings
        return train_neuron(read, width=base.ffn_width, rate=s.neuron_learning_rate, steps=s.neuron_steps)

    def _shard(
        self,
        base: Base,
        requests: Sequence[EditRequest],
        weights: Tensor,
        neurons: Sequence[Tensor],
        facts: Sequence[IndexedFact],
    ) -> Shard:
        header = ShardHeader(
            editor=self.name,
            routing="neuron",
            base_hash=base.hash,
            layer=base.layer,
            settings=self.settings.model_dump(),
            entries=neuron_entries(requests, self.settings.theta),
        )
        return Shard(header, {"scen.weight": weights, **neuron_tensors(neurons, facts)})
