"""The two stages of SCEN as published: a fact's copy of the projection, then its neuron."""

from collections.abc import Sequence

import torch
from torch import Tensor

from editors.adapters.paper_experts import down_proj_weight, replace_hook
from editors.base.base import Base
from editors.base.devices import device_errors
from editors.base.passes import hooked, row_losses, training_rows
from editors.methods.paper_scen.settings import PaperScenSettings
from editors.routing.neurons import IndexedFact, activations, train_neuron
from edits.requests import EditRequest


def train_copy(base: Base, request: EditRequest, settings: PaperScenSettings) -> Tensor:
    """Stage 1: the fact's own copy of `down_proj` (d, f)."""
    prompt_ids = base.prompt_ids(request.prompt)
    answer_ids = base.answer_ids(request.prompt, request.target_new, prompt_ids=prompt_ids)
    rows = training_rows(base, [(0, prompt_ids, answer_ids)])
    weight = down_proj_weight(base).requires_grad_()
    adam = torch.optim.Adam([weight], lr=settings.learning_rate)
    row = torch.zeros(1, dtype=torch.long, device=base.device)
    for _ in range(settings.steps):
        with hooked(base.down_proj, replace_hook(row, weight[None])), device_errors():
            logits = base.model(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False).logits
        loss = row_losses(logits[:, rows.positions[0]].float(), rows.targets).sum()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return weight.detach().cpu()


def train_last_neuron(base: Base, facts: Sequence[IndexedFact], settings: PaperScenSettings) -> Tensor:
    """Stage 2: the neuron (f,) of the last of `facts`; all before it are negatives."""
    rows = [fact.prompt_ids for fact in facts]
    cached = torch.stack([fact.h for fact in facts])

    def read() -> tuple[Tensor, Tensor]:
        h = cached if settings.cached_activations else activations(base, rows)
        return h[-1], h[:-1]

    return train_neuron(
        read, width=base.ffn_width, rate=settings.neuron_learning_rate, steps=settings.neuron_steps
    )
