"""The live edits of one generation that an engine can serve, and which of them a prompt asks; no base is read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from editors.adapters.bank import ExpertRow
from editors.index import QuestionMatcher
from editors.inference.export import why_unexportable
from editors.pretrained.hashing import BaseHash, as_base_hash
from editors.routing.scope_router import ScopeRouter
from editors.routing.trace import RouteTrace, explain
from editors.store.adapter_store import AdapterStore
from editors.store.fit import require_fit
from editors.store.lora_forms import LoraForm
from editors.store.shards import Shard
from edits.errors import ShardCorrupt, ShardDamaged
from edits.ids import EditId
from edits.names.surface import SurfaceIndex
from edits.prompts import Prompt

PREFIX = "upkeep-"


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """One edit's adapter; what a name stands for never changes."""

    edit_id: str
    digest: str

    @property
    def name(self) -> str:
        """The name at the engine, which is also its folder's."""
        return f"{PREFIX}{self.edit_id}-{self.digest[:12]}"


class GatewayEdits:
    """The live edits by text. Not safe to share between threads: one thread owns it."""

    def __init__(self, store: AdapterStore, matcher: QuestionMatcher, *, base_hash: str | BaseHash) -> None:
        self._store = store
        self._matcher = matcher
        self._base_hash = as_base_hash(base_hash)
        self._names = SurfaceIndex()
        self._router = ScopeRouter(None, self._names, matcher)
        self._live: dict[str, ExpertRow] = {}
        self._waiting: dict[str, Shard] = {}  # of the unserved, those that a LoRA form may yet be made of
        self._forms: dict[str, LoraForm] = {}  # by the shard's digest
        self.unserved: dict[str, str] = {}  # live edits that no adapter can be made of: edit id -> why

    @property
    def live(self) -> int:
        """How many edits can answer."""
        return len(self._live)

    def apply(self, *, enabled: Mapping[str, str], disabled: Iterable[str]) -> None:
        """Follow the ledger: switch edits off, then on by their shard's digest.

        The edits of a damaged shard are `unserved`, and everything else is served.

        Raises:
            ShardCorrupt: a shard is of another base, or indexed with another encoder; nothing changed.
        """
        by_shard: dict[str, list[EditId]] = {}
        for edit_id, digest in enabled.items():
            by_shard.setdefault(digest, []).append(edit_id)
        shards: dict[str, Shard] = {}
        damaged: dict[str, str] = {}
        for digest, edit_ids in by_shard.items():
            try:
                shards[digest] = self._load(digest, edit_ids)
            except ShardDamaged as error:
                damaged[digest] = str(error)
        for edit_id in (*disabled, *enabled):
            self._remove(edit_id)
        for edit_id, digest in enabled.items():
            if digest in shards:
                self._add(edit_id, shards[digest])
            else:
                self.unserved[edit_id] = damaged[digest]

    def route(self, prompts: Sequence[Prompt]) -> list[AdapterRef | None]:
        """Each prompt's adapter; None: the base."""
        found = self._router.route(prompts) if len(self._router) else []
        if not found:
            return [None] * len(prompts)
        return [None if route.edit_id is None else self.ref(route.edit_id) for route in found]

    def explain(self, prompt: Prompt) -> RouteTrace:
        """How a prompt is routed, and why."""
        return explain(self._router, prompt)

    def ref(self, edit_id: str) -> AdapterRef:
        """A live edit's adapter."""
        return AdapterRef(edit_id, self._live[edit_id].shard.digest)

    def live_adapters(self, names: Iterable[str]) -> set[str]:
        """Those of the names that are live edits' adapters."""
        found = {name: name.removeprefix(PREFIX).rpartition("-")[0] for name in names}
        return {
            name
            for name, edit_id in found.items()
            if edit_id in self._live and self.ref(edit_id).name == name
        }

    def shard(self, ref: AdapterRef) -> Shard:
        """The shard that an adapter is made of, live or not.

        Raises:
            ShardCorrupt: it is missing or damaged.
        """
        row = self._live.get(ref.edit_id)
        return (
            row.shard
            if row is not None and row.shard.digest == ref.digest
            else self._load(ref.digest, [ref.edit_id])
        )

    def form(self, ref: AdapterRef) -> LoraForm | None:
        """The LoRA form of an adapter's shard, where its own experts are none.

        Raises:
            ShardCorrupt: it is damaged.
        """
        return self._forms.get(ref.digest) or self._store.lora.find(ref.digest)

    def adopt_forms(self) -> list[str]:
        """Take over LoRA forms that workers have made since, and with them the edits that can answer now."""
        served = []
        for edit_id, shard in list(self._waiting.items()):
            if self._store.lora.exists(shard.digest):
                self._remove(edit_id)
                self._add(edit_id, shard)
                served += [edit_id] if edit_id in self._live else []
        return served

    def _load(self, digest: str, edit_ids: Iterable[EditId]) -> Shard:
        shard = self._store.load(digest, encoder_hash=self._matcher.hash)
        require_fit(shard, base_hash=self._base_hash, encoder_hash=self._matcher.hash, edit_ids=edit_ids)
        return shard

    def _add(self, edit_id: EditId, shard: Shard) -> None:
        row = shard.edit_ids.index(edit_id)
        reason = why_unexportable(shard)
        if reason is not None and "lemoe.w_in" in shard.tensors:
            reason = self._why_without_form(edit_id, shard, reason)
        if reason is None and shard.header.entries[row].odds is None:
            reason = "its index has no text, only the base's own answer: send the event again under a new id"
        if reason is not None:
            self.unserved[edit_id] = reason
            return
        self._live[edit_id] = expert = ExpertRow(shard, row)
        self._names.add(edit_id, shard.header.entries[row].surface_forms)
        self._router.add(edit_id, expert)

    def _why_without_form(self, edit_id: EditId, shard: Shard, reason: str) -> str | None:
        """Why a LEMoE edit has no LoRA form that answers; None: it has one."""
        try:
            form = self.form(AdapterRef(edit_id, shard.digest))
        except ShardCorrupt as error:
            return str(error)
        if form is None:
            self._waiting[edit_id] = shard
            return f'{reason}; a worker with serve.engine = "vllm" makes LoRA forms of such experts'
        self._forms[shard.digest] = form
        return (
            None if edit_id in form.edit_ids else "its LoRA form did not answer as told: send the fact again"
        )

    def _remove(self, edit_id: str) -> None:
        self.unserved.pop(edit_id, None)
        self._waiting.pop(edit_id, None)
        expert = self._live.pop(edit_id, None)
        if expert is not None:
            self._names.remove(edit_id, expert.shard.header.entries[expert.row].surface_forms)
            self._router.remove(edit_id)
