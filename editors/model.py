"""The edited model: a frozen base plus the live edits of a generation, routed row by row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from editors.base import Base, length_sorted_chunks
from editors.errors import ShardCorrupt
from editors.routed import ExpertRow, experts_at_work
from editors.scope import ScopeKey, read_pairs
from editors.shards import Shard
from editors.store import AdapterStore
from editors.surface import SurfaceIndex

# A prompt that names subjects with more edits than this is compared with those of the longest names, the newest first.
MAX_CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class Route:
    """Which edit a prompt goes through (None: the base), and how sure the scope index is."""

    edit_id: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer and the edit that gave it, if one did."""

    prompt: str
    text: str
    edit_id: str | None
    score: float


class EditedModel:
    """Answers prompts with the live edits; with none live it is the base bit for bit.

    A route is decided once per prompt, before generation, and held through decoding with the KV cache.
    """

    def __init__(self, base: Base, store: AdapterStore | None = None) -> None:
        self.base = base
        self._store = store
        self._live: dict[str, ExpertRow] = {}
        self._surface = SurfaceIndex()
        self._shards: dict[str, Shard] = {}

    @property
    def live(self) -> frozenset[str]:
        """Ids of the edits that can answer."""
        return frozenset(self._live)

    def named(self, text: str) -> set[str]:
        """Ids of the live edits whose subject the text names: no other edit can answer it."""
        return set(self._surface.find(text))

    def enable(self, shard: Shard, edit_ids: Iterable[str] | None = None) -> None:
        """Let a shard's edits answer: all of them, or those named.

        Raises:
            ShardCorrupt: the shard was made for another base.
        """
        if shard.header.base_hash != self.base.hash:
            raise ShardCorrupt(
                f"shard {shard.digest} was made for base {shard.header.base_hash}, this is {self.base.hash}: "
                "set model.path back, or start a new ledger and store for the new base"
            )
        wanted = set(shard.edit_ids if edit_ids is None else edit_ids)
        for row, entry in enumerate(shard.header.entries):
            if entry.edit_id in wanted:
                self.disable([entry.edit_id])
                self._live[entry.edit_id] = ExpertRow(shard, row)
                self._surface.add(entry.edit_id, entry.surface_forms)

    def disable(self, edit_ids: Iterable[str]) -> None:
        """Take edits out of the model; what is not live is passed over."""
        for edit_id in edit_ids:
            expert = self._live.pop(edit_id, None)
            if expert is not None:
                self._surface.remove(edit_id, expert.shard.header.entries[expert.row].surface_forms)

    def apply_generation(self, *, enabled: Mapping[str, str], disabled: Iterable[str]) -> None:
        """Follow one generation: switch edits off, then switch on edits by their shard's digest.

        Raises:
            ShardCorrupt: a shard is missing, damaged, or lacks an edit that the generation names.
        """
        by_shard: dict[str, list[str]] = {}
        for edit_id, digest in enabled.items():
            by_shard.setdefault(digest, []).append(edit_id)
        # Load all before the first change: a damaged shard leaves the model as it was.
        shards = {digest: self._load(digest, ids) for digest, ids in by_shard.items()}
        self.disable(disabled)
        for digest, ids in by_shard.items():
            self.enable(shards[digest], ids)
        self._drop_unused()

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

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """Where each prompt goes: of the edits that fire, the one with the longest name, then the highest score.

        A prompt that names no edited subject costs one look at its words.
        """
        pairs: list[tuple[int, str, int]] = []
        for index, prompt in enumerate(prompts):
            found = self._surface.find(prompt)
            chosen = sorted(found, key=lambda edit_id: (-found[edit_id], *_newest_first(edit_id)))[
                :MAX_CANDIDATES
            ]
            pairs += [(index, edit_id, found[edit_id]) for edit_id in chosen]
        routes = [Route(None, 0.0)] * len(prompts)
        if not pairs:
            return routes
        best = [(0, 0.0)] * len(prompts)
        readings = read_pairs(self.base, [(prompts[i], self._scope_key(edit_id)) for i, edit_id, _ in pairs])
        for (index, edit_id, length), reading in zip(pairs, readings, strict=True):
            expert = self._live[edit_id]
            entry = expert.shard.header.entries[expert.row]
            score = reading.score(entry.confidence)
            if score >= entry.threshold and (length, score) > best[index]:
                best[index] = (length, score)
                routes[index] = Route(edit_id, score)
        return routes

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 32,
        batch_size: int = 64,
        routes: Sequence[Route] | None = None,
    ) -> list[Answer]:
        """Greedy answers in the order of `prompts`, up to end-of-sequence or newline, stripped.

        Args:
            routes: given ones in place of the scope index's own (oracle routes, for measurements).
        """
        chosen = self.route(prompts) if routes is None else routes
        rows = [self.base.prompt_ids(prompt) for prompt in prompts]
        texts = [""] * len(rows)
        for chunk in length_sorted_chunks(rows, batch_size):
            experts = [self.expert(chosen[i]) for i in chunk]
            with experts_at_work(self.base, experts):
                outputs = self.base.generate_ids([rows[i] for i in chunk], max_new_tokens=max_new_tokens)
            for index, output in zip(chunk, outputs, strict=True):
                texts[index] = self.base.decode(output)
        return [
            Answer(prompt, text, route.edit_id, route.score)
            for prompt, text, route in zip(prompts, texts, chosen, strict=True)
        ]

    def expert(self, route: Route) -> ExpertRow | None:
        """The expert that a route leads to; None: the base."""
        return None if route.edit_id is None else self._live[route.edit_id]

    def _scope_key(self, edit_id: str) -> ScopeKey:
        expert = self._live[edit_id]
        entry = expert.shard.header.entries[expert.row]
        return ScopeKey(
            entry.base_answer_ids, entry.confidence, expert.shard.tensors["scope.key"][expert.row]
        )

    def _load(self, digest: str, edit_ids: Sequence[str]) -> Shard:
        shard = self._shards.get(digest)
        if shard is None:
            if self._store is None:
                raise ShardCorrupt(f"shard {digest} is needed, but this model has no adapter store")
            shard = self._store.load(digest)
            self._shards[digest] = shard
        missing = set(edit_ids) - set(shard.edit_ids)
        if missing:
            raise ShardCorrupt(f"shard {digest} lacks edits {sorted(missing)[:5]} that its generation names")
        return shard

    def _drop_unused(self) -> None:
        used = {id(expert.shard) for expert in self._live.values()}
        self._shards = {digest: shard for digest, shard in self._shards.items() if id(shard) in used}


def _newest_first(edit_id: str) -> tuple[int, str]:
    return (-int(edit_id) if edit_id.isdecimal() else 0, edit_id)
