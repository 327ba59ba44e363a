"""The values of what people read of the ledger: lists, pages, previews and differences; frozen, free of SQL and of torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.ledger.values import (
    AuditEntry,
    CheckResult,
    Edit,
    EditState,
    GenerationKind,
    HistoryEntry,
    Lane,
    PlanCause,
    RecordOutcome,
)
from edits.ids import EditId


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """A suite's newest result against one generation."""

    suite: str
    passed: bool
    at: datetime
    probes: int
    scores: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class GenerationLine:
    """One generation in a list: what it changed, counted, and what caused it.

    Attributes:
        actor: who took something back; None: a worker published it, or nobody knows.
        plan_id, lane, editor, batch_id: of the batch, where one was published.
        planned_by: what had its plan made; None: there was none, or it was not recorded.
        checks: the newest result of each suite that was asked of this generation.
        answers_as: the generation as which it answers while a worker writes down what that changes; what is switched on and
            off is counted so far.
    """

    number: int
    parent: int | None
    created_at: datetime
    kind: GenerationKind
    cause: str
    actor: str | None
    batch_id: int | None
    plan_id: int | None
    lane: Lane | None
    editor: str | None
    switched_on: int
    switched_off: int
    scores: Mapping[str, Any]
    planned_by: PlanCause | None = None
    checks: tuple[CheckVerdict, ...] = ()
    answers_as: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationPage:
    """Generations, the newest first; `next`, as `before`, goes on behind them (None: that was all)."""

    generations: tuple[GenerationLine, ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries of the audit log, the newest first; `next`, as `before`, goes on behind them (None: that was all)."""

    entries: tuple[AuditEntry, ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class FactValue:
    """An edit that answers, and what it says."""

    edit_id: EditId
    event_id: str
    answer: str


@dataclass(frozen=True, slots=True)
class FactChange:
    """One fact's answer before and after; None: the base's own."""

    subject: str
    relation: str | None
    prompt: str | None
    old: FactValue | None
    new: FactValue | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A page of what changed from generation `a` to `b`; `next` goes on with it (None: that was all)."""

    a: int
    b: int
    changes: tuple[FactChange, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class FactQuery:
    """Which edits are wanted: those that meet everything that is not None.

    Attributes:
        subject: a name or an alias, whole, in any case.
        text: words, or their beginnings, that stand in subject, aliases, prompt, answer or relation.
        answer: words, or their beginnings, that stand in the new answer.
        batch: edits that are in this batch, or in what it was split into.
        generation: edits that this generation switched on or off.
        since, until: edits that moved from one state to another in this time.
    """

    subject: str | None = None
    text: str | None = None
    answer: str | None = None
    event_id: str | None = None
    edit_id: EditId | None = None
    batch: int | None = None
    generation: int | None = None
    relation: str | None = None
    state: EditState | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class FoundFacts:
    """A page of edits, the newest first; `next` goes on behind it (None: that was all).

    A page may hold fewer than were asked for, even none, and still have a next one: a search looks at so many edits a page.
    """

    facts: tuple[Edit, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class KeptOff:
    """An edit that stays off although it was asked back, and why."""

    edit_id: EditId
    subject: str
    prompt: str | None
    answer: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action would change, computed as the action itself does; lists are truncated at `MAX_LISTED`, counts are not.

    Attributes:
        target: a generation's or an edit's number.
        head: the generation that this was computed against; given to the action as `expected_head`, it is refused if another
            one was published since.
        switched_off, switched_on, kept_off: edits, counted.
        changes: each fact's answer now and then.
        kept: edits that stay off: taken back by hand, or overtaken by a newer fact.
    """

    action: str
    target: int
    head: int
    switched_off: int
    switched_on: int
    kept_off: int
    changes: tuple[FactChange, ...]
    kept: tuple[KeptOff, ...]


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """A Kafka record that carried an event."""

    topic: str
    partition: int
    offset: int
    at: datetime
    outcome: RecordOutcome
    reason: str | None


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One batch, whatever its state.

    Attributes:
        free_at: its lease ends then, or it is not tried before.
        planned_by: what had its plan made; None: it was not recorded.
    """

    id: int
    plan_id: int
    sequence: int
    lane: Lane
    editor: str | None
    state: str
    reason: str
    attempts: int
    worker: str | None
    created_at: datetime
    finished_at: datetime | None
    free_at: datetime
    edits: int
    planned_by: PlanCause | None = None


@dataclass(frozen=True, slots=True)
class HalfBatch:
    """A batch that came out of one that was split; `edits`: how many of its edits stand in which state."""

    line: BatchLine
    edits: Mapping[EditState, int]


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """A batch that was replaced by smaller ones, and those; one of them may have been split again."""

    line: BatchLine
    halves: tuple[HalfBatch, ...]


@dataclass(frozen=True, slots=True)
class RunningBatch:
    """A batch that a worker holds.

    Attributes:
        took: since it was claimed.
        expected: what it takes in all, going by the last finished batches of its editor; None: nobody knows yet.
        left: what remains of that; zero: it takes longer than the others did.
        is_silent: its lease ran out, so another worker may take it.
    """

    line: BatchLine
    took: timedelta | None
    expected: timedelta | None
    left: timedelta | None
    is_silent: bool

    @property
    def share(self) -> float | None:
        """Of the expected time, how much is over: 0 to 1; None: nobody knows yet."""
        if self.took is None or not self.expected:
            return None
        return min(self.took / self.expected, 1.0)


@dataclass(frozen=True, slots=True)
class FactPage:
    """Everything about one edit; lists are truncated at `MAX_LISTED`.

    Attributes:
        now: what the fact's answer is at the head; None: the base's own.
        before: what it was before this edit went live, if it ever did.
        why: why the edit is in its state, in one sentence.
        records: the Kafka records that brought its event, duplicates too; `edit.event` has the event itself.
        verification: scores that the edit itself was given; its generation's are in `generations`.
        generations: those that switched it on or off, the newest first.
        versions: the other edits of the same fact, the newest first.
        checks: the newest results, of generations in which the edit was live.
    """

    edit: Edit
    now: FactValue | None
    before: FactValue | None
    why: str
    history: tuple[HistoryEntry, ...]
    records: tuple[RecordPlace, ...]
    batch: BatchLine | None
    verification: Mapping[str, Any]
    generations: tuple[GenerationLine, ...]
    versions: tuple[Edit, ...]
    checks: tuple[CheckResult, ...]
    can_undo: bool
    can_retry: bool


MAX_LISTED = 200
"""Rows of one list; what is longer is paged or counted."""
