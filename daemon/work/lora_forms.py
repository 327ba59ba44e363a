"""Behind vLLM, edits that LEMoE made before get LoRA adapters: nothing is trained, and what does not answer gets none.

A worker does this when nothing else is to do, one shard at a time; each form is written once, so several workers may.
"""

from collections.abc import Mapping

import structlog

from daemon.ledger import Ledger
from daemon.ledger.errors import NotInLedger
from daemon.served_model import ServedModel
from daemon.settings.settings import Settings
from editors.adapters.bank import ExpertRow
from editors.base.base import Base
from editors.inference.given_experts import generate_through
from editors.methods.lemoe.lora_form import fit_lora_form
from editors.store.adapter_store import AdapterStore
from editors.store.lora_forms import A, B, LoraForm
from editors.store.shards import Shard
from edits.judging import Form, as_prompt, judge_of

_log = structlog.get_logger(__name__)


class LoraFormMaker:
    """Looks through the live shards once a generation."""

    def __init__(self, settings: Settings, ledger: Ledger, model: ServedModel, store: AdapterStore) -> None:
        self._wanted = settings.serve.engine == "vllm"
        self._max_new_tokens = settings.model.max_new_tokens
        self._ledger = ledger
        self._model = model
        self._store = store
        self._generation = -1
        self._waiting: dict[str, Shard] = {}

    def make_next(self) -> bool:
        """Make the form of one shard that has none; False: there is none, or nobody wants any.

        Raises:
            TemporaryError: the device, the ledger or the store is unwell; come again.
        """
        if not self._wanted:
            return False
        if self._generation != self._model.generation:
            self._waiting, self._generation = self._shards(), self._model.generation
        while self._waiting:
            digest, shard = next(iter(self._waiting.items()))
            known = self._store.lora.exists(digest)
            if not known:
                self._make(digest, shard)
            del self._waiting[digest]
            if not known:
                return True
        return False

    def _shards(self) -> dict[str, Shard]:
        experts = self._model.edited.experts("scope").values()
        return {e.shard.digest: e.shard for e in experts if "lemoe.w_in" in e.shard.tensors}

    def _make(self, digest: str, shard: Shard) -> None:
        facts = self._facts(shard)
        form = fit_lora_form(self._model.edited.base, shard, facts)
        base, tokens = self._model.edited.base, self._max_new_tokens
        answering = _answering(base, shard, form, facts, max_new_tokens=tokens)
        self._store.lora.save(digest, answering)
        _log.info(
            "LEMoE edits have LoRA adapters",
            shard=digest,
            edits=len(answering.edit_ids),
            without=[edit_id for edit_id in shard.edit_ids if edit_id not in answering.edit_ids],
        )

    def _facts(self, shard: Shard) -> dict[str, tuple[str, str]]:
        """Prompt and answer of the shard's edits; also of those that are not live now, for a rollback may need them."""
        found = {}
        for edit_id in shard.edit_ids:
            try:
                edit = self._ledger.audit.edit(edit_id)
            except NotInLedger:
                continue
            prompt, answer = edit.prompt or "", edit.target_new or ""
            if prompt and answer and self._model.edited.base.can_answer(prompt, answer):
                found[edit_id] = (prompt, answer)
        return found


def _answering(
    base: Base, shard: Shard, form: LoraForm, facts: Mapping[str, tuple[str, str]], *, max_new_tokens: int
) -> LoraForm:
    """The form with those of its edits alone whose prompt it answers as told, in each way in which the base is asked."""
    trial = Shard(shard.header, {"scen.a": form.tensors[A], "scen.b": form.tensors[B]})
    experts = [ExpertRow(trial, row) for row in range(len(form.edit_ids))]
    right = [True] * len(experts)
    ways: tuple[Form, ...] = ("plain", "chat") if base.chat else ("plain",)
    for way in ways:
        prompts = [as_prompt(way, facts[edit_id][0]) for edit_id in form.edit_ids]
        texts = generate_through(base, prompts, experts, max_new_tokens=max_new_tokens)
        for row, (edit_id, text) in enumerate(zip(form.edit_ids, texts, strict=True)):
            right[row] &= judge_of(way)(text, facts[edit_id][1], None)
    rows = [row for row, is_right in enumerate(right) if is_right]
    kept = {name: tensor[rows] for name, tensor in form.tensors.items()}
    return LoraForm([form.edit_ids[row] for row in rows], kept)
