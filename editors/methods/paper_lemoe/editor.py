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

from collections.abc import Sequence

from torch import Tensor

from editors.adapters.paper_experts import FFN
from editors.base.base import Base
from editors.methods.common.editor import Editor, EditTask
from editors.methods.common.scoped_editor import stored
from editors.methods.common.training_batch import make_training_batch
from editors.methods.paper_lemoe.router import deferral_logit, next_sequence, route_examples, start_router
from editors.methods.paper_lemoe.settings import PaperLemoeSettings
from editors.methods.paper_lemoe.training import start_experts, train
from editors.routing.kv_anchor import LiveBatch, in_order, pool
from editors.routing.parent import ParentModel
from editors.store.header import ShardEntry
from editors.store.shards import Shard
from edits.errors import BadRequest
from edits.requests import EditRequest

# One router serves all batches: in these settings they must agree.
_FIXED = {"projection_width", "key_width", "own_projection", "force_own_expert", "ignore_padding"}


class PaperLemoeEditor(Editor[PaperLemoeSettings]):
    """Trains one expert, its key and the projection for a batch, beside those of the batches that are live in the parent."""

    name = "lemoe"

    def _train(self, task: EditTask) -> Shard:
        s, base = self.settings, task.base
        earlier = self._earlier(base, task.parent)
        rows = make_training_batch(base, task.requests, rephrases=0, seed=s.seed).plain
        e = self._pool(base, task.requests)
        router = start_router(base, earlier, s)
        experts = start_experts(base, earlier, zero_output=s.zero_output)
        examples = route_examples(base, earlier, e, s)
        train(base, rows, e, router, experts, examples, s, task.report)
        weights = stored({FFN + name: parameter for name, parameter in experts.new.items()})
        tensors = {"kv.e": e.cpu(), **router.tensors, **weights}
        if s.deferral:
            tensors["kv.null"] = deferral_logit(base, router, false_fire=s.false_fire).cpu()
        entries = tuple(
            ShardEntry(edit_id=r.edit_id, surface_forms=r.surface_forms, threshold=0.0) for r in task.requests
        )
        header = self._header(base, routing="kv_anchor", sequence=next_sequence(earlier), entries=entries)
        return Shard(header, tensors)

    def _earlier(self, base: Base, parent: ParentModel | None) -> list[LiveBatch]:
        """The live batches, which must be routed as this one will be.

        Raises:
            BadRequest: they were trained for another layer or by other switches.
        """
        earlier = in_order(parent.experts("kv_anchor")) if parent is not None else []
        own = self.settings.model_dump(include=_FIXED)
        for batch in earlier:
            header = batch.shard.header
            if header.layer != base.layer or {name: header.settings.get(name) for name in _FIXED} != own:
                raise BadRequest(
                    "LEMoE's paper mode has one router for all batches: keep model.layer and "
                    f"{', '.join(f'editors.lemoe.{name}' for name in sorted(_FIXED))} as they were, or roll back"
                )
        return earlier

    def _pool(self, base: Base, requests: Sequence[EditRequest]) -> Tensor:
        """e (n, d) of the batch, as training takes it."""
        rows = []
        for request in requests:
            prompt_ids = base.prompt_ids(request.prompt)
            target_ids = base.answer_ids(request.prompt, request.target_new, prompt_ids=prompt_ids)
            rows.append(prompt_ids if self.settings.pool_prompt_only else prompt_ids + target_ids)
        return pool(base, rows, ignore_padding=self.settings.ignore_padding)
