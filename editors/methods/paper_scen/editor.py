"""SCEN as published (arXiv 2404.02699): a full copy of `down_proj` and one indexing neuron per fact, one fact at a time.

    stage 1    W_i <- W;  Adam on W_i alone, cross-entropy of the target's tokens and the end given the prompt
    stage 2    w_i, s(h) = sigmoid(w_i . h);  Adam on the three losses of `neurons.index_loss` over fact i and all before it
    inference  argmax_i s_i at the prompt's last token; over theta, W_i replaces W for the prompt and all that follows

It is the baseline of every table. What is wasteful here is the paper's: one fact at a time, the whole model in each step,
and in stage 2 the whole model over the whole history in each step of each fact, O(N^2) passes.
"""

import torch
from torch import Tensor

from editors.methods.common.editor import Editor, EditTask
from editors.methods.paper_scen.settings import PaperScenSettings
from editors.methods.paper_scen.training import train_copy, train_last_neuron
from editors.routing.neurons import (
    IndexedFact,
    activations,
    earlier_facts,
    neuron_entries,
    neuron_tensors,
)
from editors.store.shards import STORED_DTYPE, Shard


class PaperScenEditor(Editor[PaperScenSettings]):
    """Trains one full copy and one neuron per fact, in order; see the module for how.

    The negatives of the first neuron are the facts that are live in the parent.
    """

    name = "scen"

    def _train(self, task: EditTask) -> Shard:
        weights, neurons = self._copies(task), self._neurons(task)
        header = self._header(
            task.base, routing="neuron", entries=neuron_entries(task.requests, self.settings.theta)
        )
        return Shard(header, {"scen.weight": weights, **neurons})

    def _copies(self, task: EditTask) -> Tensor:
        """Stage 1 of each fact: (n, d, f)."""
        base, count = task.base, len(task.requests)
        weights = torch.empty(count, base.hidden_size, base.ffn_width, dtype=STORED_DTYPE)
        for index, request in enumerate(task.requests):
            weights[index] = train_copy(base, request, self.settings)
            task.report(index, 2 * count)
        return weights

    def _neurons(self, task: EditTask) -> dict[str, Tensor]:
        """Stage 2 of each fact, as a shard keeps it."""
        base, count = task.base, len(task.requests)
        facts = earlier_facts(base, task.parent)
        neurons: list[Tensor] = []
        for index, request in enumerate(task.requests):
            prompt_ids = base.prompt_ids(request.prompt)
            facts.append(IndexedFact(prompt_ids, activations(base, [prompt_ids])[0]))
            neurons.append(train_last_neuron(base, facts, self.settings))
            task.report(count + index, 2 * count)
        return neuron_tensors(neurons, facts[-count:])
