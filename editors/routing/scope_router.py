"""Which live edit a prompt goes through: one router per kind of routing, asked in a fixed order by the edited model."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, groupby, islice
from typing import Protocol, TypeAlias

from editors.adapters.bank import ExpertRow
from editors.index.matcher import QuestionMatcher, worded_apart
from editors.index.text_index import (
    NO_MATCH,
    TextIndex,
    TextMatch,
    TextPair,
    probability,
    turns_with_names,
)
from editors.routing.agreement import NO_EVIDENCE, Evidence, Reading, ScopeKey, is_duplicate_question
from editors.store.header import ShardEntry
from editors.store.shards import prompt_sha256
from edits.names.articles import spoken_forms
from edits.names.by_key import EditsByKey
from edits.names.near import MIN_COVERAGE, MIN_COVERAGE_ALONE, Near, NearNames
from edits.names.surface import SurfaceIndex, Words, words_of
from edits.prompts import Prompt, user_turns
from edits.recency import arrival

# A prompt that names subjects with more edits than this is compared with those of the longest names, the newest first.
MAX_CANDIDATES = 64
# Of a prompt without any exact name, so many approximate ones are looked into.
MAX_NEAR = 4
FIRES_FROM = 0.5
# How much likeness counts between edits of one subject that would all fire: any weight from .1 on ranks alike.
LIKENESS_WEIGHT = 0.25


@dataclass(frozen=True, slots=True)
class Route:
    """Which edit a prompt goes through (None: the base), how sure its router is, and the weight g of the expert."""

    edit_id: str | None
    score: float
    gate: float = 1.0


UNROUTED = Route(None, 0.0)
# Has the base read (question, key) pairs; where there is no base, as in front of another engine, the text alone decides.
ReadPairs: TypeAlias = Callable[[Sequence[tuple[str, ScopeKey]]], Sequence[Reading]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An edit that a prompt may be about.

    Attributes:
        words: how many words of its name stand in the prompt; 0: only nearly.
        names: what stands for its name there.
        reads_text: whether the text decides about it, alone or with the base.
        evidence: what the base's answers can say beside its text; nothing for an edit without.
    """

    prompt: int
    edit_id: str
    words: int
    names: tuple[Words, ...]
    expert: ExpertRow
    reads_text: bool
    evidence: Evidence

    @property
    def key(self) -> ScopeKey:
        """What the base is asked to compare; the weights' file is read here, and only here."""
        return _key(self.expert)


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate as it was compared with its prompt.

    Attributes:
        match: how well the prompt's text asks the edit's question.
        reading: how the base read both; None: it was not asked.
        evidence: log odds that its answer adds to the text's; 0 for an edit without text.
        score, threshold: it fires where the one reaches the other; an approximate name needs more (`fires`).
    """

    candidate: Candidate
    match: TextMatch
    reading: Reading | None
    evidence: float
    score: float
    threshold: float
    fires: bool

    @property
    def told_score(self) -> float:
        """The score as callers see it, at most 1: what decides between edits that all fire may lift it over that."""
        return min(self.score, 1.0)


class Router(Protocol):
    """Routes prompts among the live edits of one kind; a kind's router exists only while such edits are live."""

    def add(self, edit_id: str, expert: ExpertRow) -> None:
        """Route prompts to one more edit, the row of a shard."""

    def remove(self, edit_id: str) -> None:
        """Forget an edit that was added."""

    def route(self, prompts: Sequence[Prompt]) -> list[Route]:
        """One route a prompt; `UNROUTED` where none of this router's edits fires."""

    def __len__(self) -> int:
        """How many edits it routes."""


class ScopeRouter:
    """Upkeep's own routing: an edit fires if the text names its subject and its question is what is asked.

    What is asked, the text tells (`editors.index`), or the base's own answer (`editors.routing.agreement`), or both, their
    log odds added: s = sigmoid(text + evidence of the base), fires from s = 1/2. What the evidence is worth was measured on
    this base (`Evidence`). The base is asked where its answer can change what the text says, and about edits without text.
    """

    def __init__(
        self, read_base: ReadPairs | None, names: SurfaceIndex, matcher: QuestionMatcher | None = None
    ) -> None:
        """
        Args:
            read_base: reads pairs by the base; None: there is none, so what has no text never fires.
            names: the edited model's index of all live edits' names, which it keeps up to date.
            matcher: reads the text; None: the base's agreement alone decides.
        """
        self._read_base = read_base
        self._names = names
        self._near = NearNames()
        self._experts: dict[str, ExpertRow] = {}
        # By a hash of the hash of their own prompt, which is small; the edits' entries tell whether it is theirs.
        self._verbatim: EditsByKey[int] = EditsByKey()
        self._text = None if matcher is None else TextIndex(matcher)

    def add(self, edit_id: str, expert: ExpertRow) -> None:
        self._experts[edit_id] = expert
        entry = self.entry(edit_id)
        if entry.near_name is not None:
            self._near.add(edit_id, entry.near_name, required=entry.required_words)
        if entry.prompt_sha256 is not None:
            self._verbatim.add(hash(entry.prompt_sha256), edit_id)
        if self._text is not None and entry.odds is not None:
            self._text.add(edit_id, expert)

    def remove(self, edit_id: str) -> None:
        prompt = self.entry(edit_id).prompt_sha256
        if prompt is not None:
            self._verbatim.remove(hash(prompt), edit_id)
        del self._experts[edit_id]
        self._near.remove(edit_id)
        if self._text is not None:
            self._text.remove(edit_id)

    def __len__(self) -> int:
        return len(self._experts)

    def near(self, text: str) -> list[str]:
        """Edits whose names stand in the text approximately."""
        return [near.edit_id for near in self._found_nearly(text)]

    def duplicate_questions(self, expert: ExpertRow) -> list[str]:
        """Edits whose question is this one's, which may or may not be among them: the same asked of the same subject.

        Their texts decide; where neither was read, the base does, as far as neither relation nor wording tells them apart.
        An edit that was read and one that was not are never one question.
        """
        mine = expert.shard.header.entries[expert.row]
        named = {edit_id for form in mine.surface_forms for edit_id in self._names.called(form)}
        others = sorted(edit_id for edit_id in named - {mine.edit_id} if edit_id in self._experts)
        text = self._text if mine.odds is not None else None
        read = [] if text is None else [edit_id for edit_id in others if edit_id in text]
        found = [] if text is None else text.duplicate_questions(expert, read)
        unprocessed = {*others} - {*read}
        return sorted([*found, *(one for one in unprocessed if _is_duplicate(expert, self._experts[one]))])

    def route(self, prompts: Sequence[Prompt]) -> list[Route]:
        """Of the edits that fire, the one with the longest name, then the highest score and likeness; near names last.

        A prompt that names no edited subject costs one look at its words; one that is an edit's own, not even that.
        """
        routes = self._verbatim_routes(prompts)
        still = [index for index, route in enumerate(routes) if route.edit_id is None]
        return self._best(routes, self.judge(prompts, self.candidates(prompts, still)))

    def judge(self, prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> list[Judged]:
        """Compare each candidate with its prompt, in the order given."""
        matches = self._matches(prompts, candidates)
        readings = self._readings(prompts, candidates, matches)
        return [
            self._judged(one, match, reading)
            for one, match, reading in zip(candidates, matches, readings, strict=True)
        ]

    def candidates(self, prompts: Sequence[Prompt], places: Iterable[int] | None = None) -> list[Candidate]:
        """The edits that prompts (those at `places`; None: all) may be about, by the names that stand there."""
        chosen = range(len(prompts)) if places is None else places
        return [one for index in chosen for one in self._candidates(index, prompts[index])]

    def with_prompt(self, prompt: Prompt) -> Sequence[str]:
        """The edits whose own prompt this, or its last user turn, is to the letter."""
        turns = user_turns(prompt)
        if not turns or not (found := self._verbatim.get(hash(own := prompt_sha256(turns[-1])))):
            return ()
        return [edit_id for edit_id in found if self.entry(edit_id).prompt_sha256 == own]

    def _verbatim_routes(self, prompts: Sequence[Prompt]) -> list[Route]:
        """To the newest edit whose own prompt it is."""
        found = [self.with_prompt(prompt) for prompt in prompts]
        return [Route(max(edits, key=arrival), 1.0) if edits else UNROUTED for edits in found]

    def _readings(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], matches: Sequence[TextMatch]
    ) -> list[Reading | None]:
        """The base's reading of each candidate of the prompts that the text does not decide; None: of the others."""
        open_prompts = {
            one.prompt for one, match in zip(candidates, matches, strict=True) if _is_open(one, match)
        }
        if not open_prompts or self._read_base is None:
            return [None] * len(candidates)
        is_asked = [
            one.prompt in open_prompts and (not one.reads_text or one.evidence != NO_EVIDENCE)
            for one in candidates
        ]
        # Of a conversation, what the user asked last.
        pairs = [
            ((user_turns(prompts[one.prompt]) or ("",))[-1], one.key)
            for one in compress(candidates, is_asked)
        ]
        readings = iter(self._read_base(pairs))
        return [next(readings) if asked else None for asked in is_asked]

    def _best(self, verbatim: Sequence[Route], judged: Sequence[Judged]) -> list[Route]:
        routes = list(verbatim)
        best = [(-1, 0.0)] * len(routes)
        for one in judged:
            place, words = one.candidate.prompt, one.candidate.words
            rank = (words, (one.score if one.fires else 0.0) + LIKENESS_WEIGHT * one.match.likeness)
            if one.fires and rank > best[place]:
                best[place] = rank
                routes[place] = Route(one.candidate.edit_id, one.told_score)
        return routes

    def _judged(self, candidate: Candidate, match: TextMatch, reading: Reading | None) -> Judged:
        agrees = reading is not None and reading.agrees
        if candidate.reads_text:
            added = 0.0 if reading is None else candidate.evidence.log_odds(reading)
            score = probability(match.odds + added)
            # Who is meant by an approximate name is in doubt: if the base can, it must confirm it.
            is_meant = candidate.words > 0 or candidate.evidence == NO_EVIDENCE or agrees
            return Judged(
                candidate, match, reading, added, score, FIRES_FROM, is_meant and score >= FIRES_FROM
            )
        entry = self.entry(candidate.edit_id)
        if reading is None:
            return Judged(candidate, match, None, 0.0, 0.0, entry.threshold, fires=False)
        score = reading.score(entry.confidence)
        if candidate.words == 0:  # only the base's full agreement will do
            full = agrees and entry.confidence >= entry.threshold
            return Judged(candidate, match, reading, 0.0, score, entry.threshold, full)
        return Judged(candidate, match, reading, 0.0, score, entry.threshold, score >= entry.threshold)

    def _candidates(self, index: int, prompt: Prompt) -> list[Candidate]:
        turn, found = turns_with_names(prompt, self.find)
        if found:
            return [
                self._candidate(index, prompt, edit_id, length, self._names_of(edit_id))
                for edit_id, length in found.items()
            ]
        return list(islice(self._named_nearly(index, prompt, turn), MAX_NEAR))

    def _named_nearly(self, index: int, prompt: Prompt, turn: str) -> Iterator[Candidate]:
        for near in self._found_nearly(turn):
            names = self._near.words_in(turn, near.edit_id)
            one = self._candidate(index, prompt, near.edit_id, 0, names)
            # Where no base is asked to confirm a name, nearly all of it must stand there.
            is_confirmed = not one.reads_text or one.evidence != NO_EVIDENCE
            if is_confirmed or near.coverage >= MIN_COVERAGE_ALONE:
                yield one

    def _candidate(
        self, index: int, prompt: Prompt, edit_id: str, words: int, names: tuple[Words, ...]
    ) -> Candidate:
        expert, entry = self._experts[edit_id], self.entry(edit_id)
        calibration = expert.shard.header.calibration
        reads_text = self._text is not None and entry.odds is not None
        # The base's answer was asked for as plain text.
        is_asked = self._read_base is not None and isinstance(prompt, str)
        evidence = NO_EVIDENCE
        if reads_text and is_asked and calibration is not None:
            evidence = Evidence.of(calibration.agreement, entry.confidence)
        return Candidate(index, edit_id, words, names, expert, reads_text, evidence)

    def _matches(self, prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> list[TextMatch]:
        read = [c for c in candidates if c.reads_text]
        if self._text is None or not read:
            return [NO_MATCH] * len(candidates)
        found = iter(self._text.matches([TextPair(prompts[c.prompt], c.edit_id, c.names) for c in read]))
        return [next(found) if c.reads_text else NO_MATCH for c in candidates]

    def find(self, text: str) -> dict[str, int]:
        """Edits that a text names, with the words of the name: the longest names first, the newest of them first."""
        found: dict[str, int] = {}
        for length, names in groupby(self._names.names_in(text), key=lambda one: one[0]):
            newest = heapq.merge(*(reversed(edits) for _, edits in names), key=arrival, reverse=True)
            mine = (one for one, _ in groupby(newest) if one in self._experts and one not in found)
            chosen = sorted(islice(mine, MAX_CANDIDATES - len(found)), key=arrival, reverse=True)
            found |= dict.fromkeys(chosen, length)
        return found

    def _found_nearly(self, text: str) -> list[Near]:
        found = self._near.find(text, least=MIN_COVERAGE)
        return [near for near in found if near.coverage >= self._least_coverage(near.edit_id)]

    def _names_of(self, edit_id: str) -> tuple[Words, ...]:
        return tuple(words_of(form) for form in spoken_forms(self.entry(edit_id).surface_forms))

    def entry(self, edit_id: str) -> ShardEntry:
        """What the index knows of one of its edits."""
        expert = self._experts[edit_id]
        return expert.shard.header.entries[expert.row]

    def _least_coverage(self, edit_id: str) -> float:
        calibration = self._experts[edit_id].shard.header.calibration
        return 1.0 if calibration is None else calibration.near_coverage


def _is_open(candidate: Candidate, match: TextMatch) -> bool:
    """Whether the base's answer decides about a candidate; about an approximate name, unless the text refuses."""
    evidence = candidate.evidence
    nearly = candidate.words == 0 and evidence != NO_EVIDENCE and match.odds + evidence.most >= 0
    return nearly or not candidate.reads_text or evidence.can_change(match.odds)


def _is_duplicate(one: ExpertRow, other: ExpertRow) -> bool:
    """Whether two edits of one subject ask one question, as far as relation, wording and the base's answers tell."""
    relations = {row.shard.header.entries[row.row].relation for row in (one, other)}
    if None not in relations and len(relations) > 1:
        return False
    # Shards of earlier releases that no encoder read keep no texts.
    mine, theirs = _own_texts(one), _own_texts(other)
    if mine and theirs and bool(worded_apart(mine, theirs).all()):
        return False
    return is_duplicate_question(_key(one), _key(other))


def _own_texts(expert: ExpertRow) -> list[str]:
    questions = expert.shard.header.questions
    return [questions[row].text for row in expert.shard.own_questions(expert.row)]


def _key(expert: ExpertRow) -> ScopeKey:
    entry = expert.shard.header.entries[expert.row]
    tensors = expert.shard.tensors
    state = tensors["scope.key"][expert.row] if "scope.key" in tensors else None
    return ScopeKey(entry.base_answer_ids, entry.confidence, state)
