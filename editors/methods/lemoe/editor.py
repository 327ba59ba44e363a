"""LEMoE: one expert per batch of facts beside the FFN, frozen once trained; it reads the matched edit's stored anchor.

After arXiv 2406.20030. In the paper's formula the expert sees the live hidden state alone, which moves with the phrasing:
half of the paraphrases miss. Here (an idea of MEMoE, arXiv 2405.19086) the expert also reads an anchor of the edit that the
scope index matched, and reads the live state softly:

    f(x, i) = W_out SiLU(s W_in x / |x| + g_i),   g_i = U a_i

with a_i the hidden state at the last token of edit i's own prompt and s `live_scale`. U and a_i are only ever used as their
product, so the shard stores g_i (m numbers per edit) in place of both. The output starts at zero, so that the FFN is not
doubled at step 0. A batch is forced through its own expert while it is trained; older experts are frozen and untouched.
"""

from editors.methods.common.editor import EditTask
from editors.methods.common.scoped_editor import ScopedEditor
from editors.methods.lemoe.settings import LemoeSettings
from editors.methods.lemoe.training import train_expert
from editors.store.shards import Shard


class LemoeEditor(ScopedEditor[LemoeSettings]):
    """Trains one expert for the whole batch; see the module for how."""

    name = "lemoe"

    def _train(self, task: EditTask) -> Shard:
        batch = self._training_batch(task.base, task.requests)
        expert = train_expert(task.base, batch, self.settings, task.report)
        weights = {"lemoe.w_in": expert.w_in, "lemoe.w_out": expert.w_out, "lemoe.gate": expert.gate}
        return self._scoped_shard(task, weights)
