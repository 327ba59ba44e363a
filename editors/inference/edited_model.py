"""The edited model: a frozen base plus the live edits of a generation, routed row by row."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from weakref import WeakValueDictionary

from editors.adapters.apply import apply_adapters, groups_that_fit
from editors.adapters.bank import DEFAULT_DEVICE_EXPERT_BYTES, ExpertBank, ExpertRow
from editors.adapters.paper_experts import is_full_copy
from editors.base.base import Base, CompletionOutput, PromptBatch
from editors.index.matcher import QuestionMatcher
from editors.routing.agreement import read_pairs
from editors.routing.kv_anchor import AnchorRouter
from editors.routing.neurons import NeuronRouter
from editors.routing.scope_router import UNROUTED, Route, Router, ScopeRouter
from editors.routing.trace import RouteTrace, explain
from editors.store.adapter_store import AdapterStore
from editors.store.fit import require_fit
from editors.store.header import ROUTINGS, Agreement, Routing
from editors.store.shards import Shard
from edits.errors import ShardCorrupt, ShardDamaged
from edits.names.surface import SurfaceIndex
from edits.prompts import Prompt, prompt_list

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer and the edit that gave it, if one did; `truncated`: the limit of tokens ended it.

    `prompt_tokens` were read, `new_tokens` generated, with the one that ended the answer.
    """

    prompt: Prompt
    text: str
    edit_id: str | None
    score: float
    truncated: bool = False
    prompt_tokens: int = field(default=0, compare=False)  # what was paid for an answer is no part of it
    new_tokens: int = field(default=0, compare=False)

    @classmethod
    def of(cls, prompt: Prompt, completion: CompletionOutput, route: Route = UNROUTED) -> "Answer":
        """A completion as the answer to its prompt, by the route that it took."""
        c = completion
        return cls(prompt, c.text, route.edit_id, route.score, c.truncated, c.prompt_tokens, c.new_tokens)


class EditedModel:
    """Answers prompts with the live edits; with none live it is the base bit for bit.

    A route is decided once per prompt, before generation, and held through decoding with the KV cache.
    """

    def __init__(
        self,
        base: Base,
        store: AdapterStore | None = None,
        *,
        matcher: QuestionMatcher | None = None,
        device_expert_bytes: int = DEFAULT_DEVICE_EXPERT_BYTES,
    ) -> None:
        """
        Args:
            matcher: reads what a prompt asks from its text (`editors.index.load_matcher`); without one the
                base's own answers decide, which few real models give reliably.
            device_expert_bytes: what experts may take on the device; those that do not fit are paged.
        """
        self.base = base
        self.matcher = matcher
        self.bank = ExpertBank(base, limit_bytes=device_expert_bytes)
        self._store = store
        self._live: dict[str, ExpertRow] = {}
        self._told: set[bool] = set()  # of which two kinds of shards a warning was given: with text, without
        self._unserved: dict[str, str] = {}  # edit id -> digest of the damaged shard that carries it
        self._names = SurfaceIndex()
        self._routers: dict[Routing, Router] = {}
        # Held by their live edits alone: a shard whose last edit is retired is gone.
        self._shards: WeakValueDictionary[str, Shard] = WeakValueDictionary()

    @property
    def live(self) -> frozenset[str]:
        """Ids of the edits that can answer."""
        return frozenset(self._live)

    @property
    def unserved(self) -> frozenset[str]:
        """Ids of edits that are published and cannot answer, as their shard is damaged: the base answers in their place."""
        return frozenset(self._unserved)

    def named(self, text: str) -> set[str]:
        """Ids of the live edits whose subject the text names, if only approximately, or whose prompt it is: of those routed
        by scope, no other can answer it."""
        scope = self._scope
        others = (*scope.near(text), *scope.with_prompt(text)) if scope is not None else ()
        return {*self._names.find(text), *others}

    def duplicate_questions(self, shard: Shard) -> dict[str, list[str]]:
        """For each edit of a shard, the live edits whose question is the same: of the same subject, in these or other words.

        Their texts decide, where both were read; where neither was, the frozen base does, which must give both one answer
        and be sure of both, while neither relations nor wording tell them apart.
        """
        scope = self._scope
        if shard.header.routing != "scope" or scope is None:
            return {}
        rows = enumerate(shard.header.entries)
        return {entry.edit_id: scope.duplicate_questions(ExpertRow(shard, row)) for row, entry in rows}

    @property
    def agreement(self) -> Agreement:
        """How far this base's own answers told questions apart, over the shards of the live edits."""
        counted = [c.agreement for shard in self._live_shards if (c := shard.header.calibration) is not None]
        return max(counted, key=lambda one: one.same + one.other, default=Agreement())

    @property
    def _live_shards(self) -> list[Shard]:
        return list({id(expert.shard): expert.shard for expert in self._live.values()}.values())

    def experts(self, routing: Routing) -> dict[str, ExpertRow]:
        """The live edits of one kind of routing, in the order in which they came to be live."""
        return {
            edit_id: expert
            for edit_id, expert in self._live.items()
            if expert.shard.header.routing == routing
        }

    def enable(self, shard: Shard, edit_ids: Iterable[str] | None = None) -> None:
        """Let a shard's edits answer: all of them, or those named.

        Raises:
            ShardCorrupt: the shard was made for another base or another layer, or names tokens that the base does not have.
        """
        require_fit(shard, base_hash=self.base.known_as, encoder_hash=self._encoder_hash)
        self._check_entries(shard)
        if shard.header.routing == "scope" and shard.header.layer != self.base.layer:
            raise ShardCorrupt(
                f"shard {shard.digest} was made for layer {shard.header.layer}, this base is edited at layer "
                f"{self.base.layer}: set model.layer = {shard.header.layer}, or start a new ledger and store"
            )
        self._warn_of_text(shard)
        wanted = set(shard.edit_ids if edit_ids is None else edit_ids)
        for row, edit_id in enumerate(shard.edit_ids):
            if edit_id in wanted:
                self.disable([edit_id])
                expert = self._live[edit_id] = ExpertRow(shard, row)
                self._names.add(edit_id, shard.header.entries[row].surface_forms)
                self._router(shard.header.routing).add(edit_id, expert)

    def _warn_of_text(self, shard: Shard) -> None:
        """Say once where paraphrases are not found, as either the shard has no text or the model reads none."""
        has_text = shard.header.encoder_hash is not None
        if (
            shard.header.routing != "scope"
            or has_text == (self.matcher is not None)
            or has_text in self._told
        ):
            return
        self._told.add(has_text)
        _log.warning(
            "shard %s was indexed by the text of its edits, which this model does not read: pass "
            "matcher=load_matcher() (editors.index), or an edit may fire on its own words alone"
            if has_text
            else "shard %s has no text to find its edits by, though this model reads texts: pass parent=model to apply(), "
            "or an edit fires only where the base's own answers agree",
            shard.digest,
        )

    def _check_entries(self, shard: Shard) -> None:
        """Refuse token ids that the base does not have: a device that looks one up is lost to its process."""
        if shard.header.routing == "scope" and is_full_copy(shard):
            raise ShardCorrupt(
                f"shard {shard.digest}: full copies are not routed by scope; apply its edits again"
            )
        edit_id, token = shard.largest_token
        if token >= self.base.vocabulary:
            raise ShardCorrupt(
                f"shard {shard.digest}, edit {edit_id}: it names tokens beyond the base's "
                f"{self.base.vocabulary}; apply the edit again"
            )

    def disable(self, edit_ids: Iterable[str]) -> None:
        """Take edits out of the model; what is not live is passed over."""
        for edit_id in edit_ids:
            self._unserved.pop(edit_id, None)
            expert = self._live.pop(edit_id, None)
            if expert is not None:
                header = expert.shard.header
                self._names.remove(edit_id, header.entries[expert.row].surface_forms)
                self._routers[header.routing].remove(edit_id)
                if not len(self._routers[header.routing]):
                    del self._routers[header.routing]

    def apply_generation(self, *, enabled: Mapping[str, str], disabled: Iterable[str]) -> None:
        """Follow one generation: switch edits off, then switch on edits by their shard's digest.

        The edits of a damaged shard are `unserved`, and everything else is served.

        Raises:
            ShardCorrupt: a shard lacks an edit that the generation names, or was made for something else than this model;
                nothing changed.
        """
        by_shard: dict[str, list[str]] = {}
        for edit_id, digest in enabled.items():
            by_shard.setdefault(digest, []).append(edit_id)
        # Load all before the first change: an unfit shard leaves the model as it was.
        shards = {digest: self._load_if_whole(digest, ids) for digest, ids in by_shard.items()}
        self.disable(disabled)
        for digest, ids in by_shard.items():
            shard = shards[digest]
            if shard is not None:
                self.enable(shard, ids)
            else:
                self.disable(ids)
                self._unserved.update(dict.fromkeys(ids, digest))

    def serve_again(self) -> int:
        """Let `unserved` edits answer whose shards are whole by now; how many there were."""
        by_shard: dict[str, list[str]] = {}
        for edit_id, digest in self._unserved.items():
            by_shard.setdefault(digest, []).append(edit_id)
        before = len(self._unserved)
        for digest, ids in by_shard.items():
            shard = self._load_if_whole(digest, ids)
            if shard is not None:
                self.enable(shard, ids)
        return before - len(self._unserved)

    def _set_aside(self, damage: ShardDamaged) -> bool:
        """Let no edit of a damaged shard answer any more; whether there was one."""
        _log.error("a shard is damaged, its edits no longer answer: %s", damage)
        ids = [edit_id for edit_id, expert in self._live.items() if expert.shard.digest == damage.digest]
        self.disable(ids)
        self._shards.pop(damage.digest, None)
        self._unserved.update(dict.fromkeys(ids, damage.digest))
        return bool(ids)

    @contextmanager
    def candidate(self, shards: Sequence[Shard], *, without: Iterable[str] = ()) -> Iterator[None]:
        """While the block runs, the model has the shards' edits and lacks `without`; afterwards it is as before."""
        added = [edit_id for shard in shards for edit_id in shard.edit_ids]
        before = {edit_id: self._live[edit_id] for edit_id in {*without, *added} if edit_id in self._live}
        self.disable(before)
        for shard in shards:
            self.enable(shard)
        try:
            yield
        finally:
            self.disable(added)
            for edit_id, expert in before.items():
                self.enable(expert.shard, [edit_id])

    def route(self, prompts: Prompt | Sequence[Prompt]) -> list[Route]:
        """Where each prompt goes: the scope index first, then the papers' own routers, where such edits are live.

        The scope index reads what the user says, the papers' routers what the model reads. A shard that turns out to be
        damaged is set aside, and the prompts are routed without it.
        """
        prompts = prompt_list(prompts)
        while True:
            try:
                routes = self._route(prompts)
                for shard in {
                    id(e.shard): e.shard for r in routes if (e := self.expert(r)) is not None
                }.values():
                    shard.require_whole()
            except ShardDamaged as damage:
                if not self._set_aside(damage):
                    raise
            else:
                return routes

    def _route(self, prompts: Sequence[Prompt]) -> list[Route]:
        routes = [UNROUTED] * len(prompts)
        asked = [self.base.conversation(prompt) or prompt for prompt in prompts]
        for routing in ROUTINGS:
            router = self._routers.get(routing)
            still = [i for i, route in enumerate(routes) if route.edit_id is None]
            if router is not None and still:
                found = router.route([asked[i] for i in still])
                for index, route in zip(still, found, strict=True):
                    routes[index] = route
        return routes

    def explain(self, prompt: Prompt) -> RouteTrace:
        """How a prompt is routed, and why: what was found in it, and what each candidate scored."""
        asked = self.base.conversation(prompt) or prompt
        return explain(self._scope, asked, self.route([prompt])[0])

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        max_new_tokens: int = 32,
        batch_size: int = 64,
        routes: Sequence[Route] | None = None,
    ) -> list[Answer]:
        """Greedy answers in the order of `prompts` (one of them alone: a list of one), stripped.

        A plain prompt's ends with the sequence or its line, a conversation's with the assistant's turn.

        Args:
            routes: given ones in place of the scope index's own (oracle routes, for measurements).

        Raises:
            BadRequest: a prompt that leaves no room for an answer, or messages that the chat template refuses.
        """
        prompts = prompt_list(prompts)
        answers: list[Answer | None] = [None] * len(prompts)
        # A list: what is too long is refused before anything is read.
        batches = list(self.base.batches(prompts, batch_size))
        chosen = self.route(prompts) if routes is None else routes
        for batch in batches:
            limit = self.base.new_token_limit(batch.columns, max_new_tokens)
            of_batch = [chosen[i] for i in batch.places]
            outputs = self._outputs(batch, limit, of_batch)
            for index, ids, route, output in zip(batch.places, batch.ids, of_batch, outputs, strict=True):
                completion = self.base.completion(
                    output, limit=limit, ending=batch.ending, prompt_tokens=len(ids)
                )
                answers[index] = Answer.of(prompts[index], completion, route)
        return [answer for answer in answers if answer is not None]

    def _outputs(self, batch: PromptBatch, limit: int, routes: Sequence[Route]) -> list[list[int]]:
        """Generated ids of one batch, each row through the expert of its route."""
        experts = [self.expert(route) for route in routes]
        outputs: list[list[int]] = [[] for _ in batch.ids]
        # In the order of the batch: a row that no edit fires on is then computed just as the base computes it.
        for group in map(sorted, groups_that_fit(self.bank, experts)):
            with apply_adapters(self.base, [experts[n] for n in group], bank=self.bank):
                found = self.base.generate_ids(
                    [batch.ids[n] for n in group], max_new_tokens=limit, ending=batch.ending
                )
            for n, output in zip(group, found, strict=True):
                outputs[n] = output
        return outputs

    def expert(self, route: Route) -> ExpertRow | None:
        """The expert that a route leads to; None: the base."""
        return None if route.edit_id is None else replace(self._live[route.edit_id], gate=route.gate)

    @property
    def _encoder_hash(self) -> str | None:
        return None if self.matcher is None else self.matcher.hash

    @property
    def _scope(self) -> ScopeRouter | None:
        """The scope index's router, while any live edit is routed by it."""
        router = self._routers.get("scope")
        return router if isinstance(router, ScopeRouter) else None

    def _router(self, routing: Routing) -> Router:
        router = self._routers.get(routing)
        if router is None:
            if routing == "scope":
                router = ScopeRouter(partial(read_pairs, self.base), self._names, self.matcher)
            elif routing == "neuron":
                router = NeuronRouter(self.base)
            else:
                router = AnchorRouter(self.base)
            self._routers[routing] = router
        return router

    def _load_if_whole(self, digest: str, edit_ids: Sequence[str]) -> Shard | None:
        try:
            return self._load(digest, edit_ids)
        except ShardDamaged as damage:
            _log.error("a shard is damaged, its edits do not answer: %s", damage)
            return None

    def _load(self, digest: str, edit_ids: Sequence[str]) -> Shard:
        shard = self._shards.get(digest)
        if shard is None:
            if self._store is None:
                raise ShardCorrupt(f"shard {digest} is needed, but this model has no adapter store")
            shard = self._shards[digest] = self._store.load(digest, encoder_hash=self._encoder_hash)
        require_fit(shard, base_hash=self.base.known_as, encoder_hash=self._encoder_hash, edit_ids=edit_ids)
        return shard
