"""SCEN: one low-rank expert on the FFN's last projection per fact, many facts trained side by side.

After arXiv 2404.02699 (stage 1). The paper copies the whole projection W for each fact; here an expert is W + B_i A_i of
rank r. Facts do not share a parameter, so a batch of them is trained at once with batched matmuls, the layers below the
edited one run once, and a fact that has converged leaves the batch.
"""

import torch
from torch import Tensor

from editors.methods.common.editor import EditTask
from editors.methods.common.scoped_editor import ScopedEditor, stored
from editors.methods.scen.settings import ScenSettings
from editors.methods.scen.training import train_experts
from editors.routing.neurons import index_together, neuron_entries
from editors.store.shards import Shard


class ScenEditor(ScopedEditor[ScenSettings]):
    """Trains one expert per fact; see the module for how."""

    name = "scen"

    def _train(self, task: EditTask) -> Shard:
        weights = self._train_experts(task)
        s = self.settings
        if s.routing == "scope":
            return self._scoped_shard(task, weights)
        neurons = index_together(
            task.base, task.requests, task.parent, rate=s.neuron_learning_rate, steps=s.neuron_steps
        )
        header = self._header(task.base, routing=s.routing, entries=neuron_entries(task.requests, s.theta))
        return Shard(header, {**neurons, **stored(weights)})

    def _train_experts(self, task: EditTask) -> dict[str, Tensor]:
        """A (n, r, f) and B (n, d, r) of all requests, so many at a time."""
        s, base, count = self.settings, task.base, len(task.requests)
        parts: list[tuple[Tensor, Tensor]] = []
        for start in range(0, count, s.batch_size):
            requests = task.requests[start : start + s.batch_size]
            batch = self._training_batch(base, requests, other_questions=s.other_questions)
            parts.append(train_experts(base, batch, s))
            task.report(start + len(requests), count)
        a, b = (torch.cat(part) for part in zip(*parts, strict=True))
        return {"scen.a": a, "scen.b": b}
