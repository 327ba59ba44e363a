"""Which live edit a prompt goes through: one router per kind of routing, asked in a fixed order by the edited model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from editors.base import Base
from editors.names import LEAST_COVERAGE, NearNames
from editors.routed import ExpertRow
from editors.scope import Reading, ScopeKey, read_pairs, same_question
from editors.shards import ShardEntry, prompt_sha256
from editors.surface import SurfaceIndex, words_of

# A prompt that names subjects with more edits than this is compared with those of the longest names, the newest first.
MAX_CANDIDATES = 64
# Of a prompt without any exact name, so many approximate ones are looked into.
MAX_NEAR = 4


@dataclass(frozen=True, slots=True)
class Route:
    """Which edit a prompt goes through (None: the base), how sure its router is, and the weight g of the expert."""

    edit_id: str | None
    score: float
    gate: float = 1.0


UNROUTED = Route(None, 0.0)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An edit that a prompt may be about, and how many words of its name stand there (0: only nearly)."""

    prompt: int
    edit_id: str
    words: int
    key: ScopeKey


class Router(Protocol):
    """Routes prompts among the live edits of one kind; a kind's router exists only while such edits are live."""

    def add(self, edit_id: str, expert: ExpertRow) -> None: ...

    def remove(self, edit_id: str) -> None:
        """Forget an edit that was added."""

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """One route a prompt; `UNROUTED` where none of this router's edits fires."""

    def __len__(self) -> int:
        """How many edits it routes."""


class ScopeRouter:
    """Upkeep's own routing: an edit fires if the text names its subject and the scope index finds its question asked."""

    def __init__(self, base: Base, names: SurfaceIndex) -> None:
        """
        Args:
            names: the edited model's index of all live edits' names, which it keeps up to date.
        """
        self._base = base
        self._names = names
        self._near = NearNames()
        self._experts: dict[str, ExpertRow] = {}
        self._verbatim: dict[str, list[str]] = {}  # by prompt, hashed: the edits of it

    def add(self, edit_id: str, expert: ExpertRow) -> None:
        self._experts[edit_id] = expert
        entry = self._entry(edit_id)
        if entry.near_name is not None:
            self._near.add(edit_id, entry.near_name, firm=entry.firm_words)
        if entry.prompt_sha256 is not None:
            self._verbatim.setdefault(entry.prompt_sha256, []).append(edit_id)

    def remove(self, edit_id: str) -> None:
        prompt = self._entry(edit_id).prompt_sha256
        if prompt is not None:
            self._verbatim[prompt].remove(edit_id)
            if not self._verbatim[prompt]:
                del self._verbatim[prompt]
        del self._experts[edit_id]
        self._near.remove(edit_id)

    def __len__(self) -> int:
        return len(self._experts)

    def near(self, text: str) -> list[str]:
        """Edits whose names stand in the text approximately."""
        return [
            near.edit_id
            for near in self._near.find(text, least=LEAST_COVERAGE)
            if near.coverage >= self._least_coverage(near.edit_id)
        ]

    def alike(self, expert: ExpertRow) -> list[str]:
        """Edits that ask the same of the same subject as this one, which may or may not be among them."""
        mine = expert.shard.header.entries[expert.row]
        key, names = _key(expert), {words_of(form) for form in mine.surface_forms}
        suspects = {edit_id for form in mine.surface_forms for edit_id in self._names.find(form)}
        return sorted(
            edit_id
            for edit_id in suspects - {mine.edit_id}
            if edit_id in self._experts
            and names & {words_of(form) for form in self._entry(edit_id).surface_forms}
            and same_question(key, _key(self._experts[edit_id]))
        )

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """Of the edits that fire, the one with the longest name, then the highest score; exact names before near ones.

        A prompt that names no edited subject costs one look at its words; one that is an edit's own, not even that.
        """
        routes = self.verbatim(prompts)
        suspects = self.suspects(prompts, routes)
        if not suspects:
            return routes
        return self.decide(
            routes, suspects, read_pairs(self._base, [(prompts[s.prompt], s.key) for s in suspects])
        )

    def verbatim(self, prompts: Sequence[str]) -> list[Route]:
        """The newest edit whose own prompt this is, to the letter; `UNROUTED` where there is none."""
        found = [self.with_prompt(prompt) for prompt in prompts]
        return [Route(min(edits, key=_newest_first), 1.0) if edits else UNROUTED for edits in found]

    def with_prompt(self, prompt: str) -> Sequence[str]:
        """The edits whose own prompt this is, to the letter."""
        return self._verbatim.get(prompt_sha256(prompt), ())

    def suspects(self, prompts: Sequence[str], routes: Sequence[Route]) -> list[Suspect]:
        """The edits that each prompt without a route may be about: those whose names stand in it, at least nearly."""
        return [
            Suspect(index, edit_id, length, _key(self._experts[edit_id]))
            for index, prompt in enumerate(prompts)
            if routes[index].edit_id is None
            for edit_id, length in self._candidates(prompt)
        ]

    def decide(
        self, begun: Sequence[Route], suspects: Sequence[Suspect], readings: Sequence[Reading]
    ) -> list[Route]:
        """The routes of all prompts, each suspect having been read against its prompt."""
        routes = list(begun)
        best = [(-1, 0.0)] * len(routes)
        for suspect, reading in zip(suspects, readings, strict=True):
            entry, index = self._entry(suspect.edit_id), suspect.prompt
            score = reading.score(entry.confidence)
            rank = (suspect.words, score)
            if _fires(entry, reading, score, near=suspect.words == 0) and rank > best[index]:
                best[index] = rank
                routes[index] = Route(suspect.edit_id, score)
        return routes

    def _candidates(self, prompt: str) -> list[tuple[str, int]]:
        found = {e: length for e, length in self._names.find(prompt).items() if e in self._experts}
        if not found:
            return [(edit_id, 0) for edit_id in self.near(prompt)[:MAX_NEAR]]
        ordered = sorted(found, key=lambda edit_id: (-found[edit_id], *_newest_first(edit_id)))
        return [(edit_id, found[edit_id]) for edit_id in ordered[:MAX_CANDIDATES]]

    def _entry(self, edit_id: str) -> ShardEntry:
        expert = self._experts[edit_id]
        return expert.shard.header.entries[expert.row]

    def _least_coverage(self, edit_id: str) -> float:
        calibration = self._experts[edit_id].shard.header.calibration
        return 1.0 if calibration is None else calibration.near_coverage


def _key(expert: ExpertRow) -> ScopeKey:
    entry = expert.shard.header.entries[expert.row]
    return ScopeKey(entry.base_answer_ids, entry.confidence, expert.shard.tensors["scope.key"][expert.row])


def _fires(entry: ShardEntry, reading: Reading, score: float, *, near: bool) -> bool:
    if near:  # who is meant is itself in doubt: only the base's full agreement convicts
        return reading.agrees and entry.confidence >= entry.threshold
    return score >= entry.threshold


def _newest_first(edit_id: str) -> tuple[int, str]:
    return (-int(edit_id) if edit_id.isdecimal() else 0, edit_id)
