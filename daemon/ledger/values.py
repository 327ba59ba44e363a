"""The values that pass between the ledger and the other packages: frozen, typed, free of SQL and of torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.events.fact_event import FactEvent
from edits.ids import EditId
from edits.recency import Recency, recency_of
from edits.requests import EditRequest


class EditState(StrEnum):
    """Where an edit stands; `daemon.ledger.store.states` says which moves are allowed."""

    PENDING = "pending"
    PLANNED = "planned"
    APPLYING = "applying"
    LIVE = "live"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"


class Lane(StrEnum):
    """Urgent edits go at once, one expert each; the batch lane waits for the nightly cycle."""

    URGENT = "urgent"
    BATCH = "batch"


class RecordOutcome(StrEnum):
    """What became of one Kafka record; every consumed record has exactly one."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True, slots=True)
class ConsumedRecord:
    """One Kafka record as the consumer read it: either a valid event or the reason why it is none."""

    topic: str
    partition: int
    offset: int
    digest: str  # sha256 of key, value and headers: tells a redelivery from a recreated topic
    event: FactEvent | None
    rejection: str | None = None


@dataclass(frozen=True, slots=True)
class IntakeReport:
    """What one ledger transaction did with a batch of records; `outcomes` is parallel to the records.

    A redelivered record repeats the outcome that it had the first time. A record whose `event_id` was used
    before with other content is dead-lettered: `reasons[i]` then says so.
    """

    outcomes: tuple[RecordOutcome, ...]
    reasons: tuple[str | None, ...]
    redelivered: int = 0


@dataclass(frozen=True, slots=True)
class Edit:
    """One accepted event on its way through the states."""

    id: EditId
    event_id: str
    op: str  # "assert" or "retract"
    state: EditState
    subject: str
    relation: str | None
    prompt: str | None  # a retraction may lack one
    target_new: str | None  # None for a retraction
    priority: Lane
    occurred_at: datetime
    offset: int
    fact_key: str  # (subject, relation) normalised, or the prompt where there is no relation
    prompt_key: str | None
    event: FactEvent
    batch_id: int | None = None
    generation: int | None = None
    superseded_by: EditId | None = None
    reason: str | None = None
    attempts: int = 0

    @property
    def recency(self) -> Recency:
        """What decides between rivals: the greater is the newer."""
        return recency_of(self.occurred_at, self.offset, self.id)

    def request(self, phrasings: Iterable[str] = ()) -> EditRequest:
        """The edit request of an assertion, with what else is known to ask for this relation of this subject.

        Raises:
            ValueError: the edit is a retraction, which asks an editor for nothing.
        """
        if self.prompt is None or self.target_new is None:
            raise ValueError(f"edit {self.id} is a retraction: it has no edit request")
        event = self.event
        own = {self.prompt, *event.rephrase_prompts}
        return EditRequest(
            edit_id=self.id,
            subject=self.subject,
            prompt=self.prompt,
            target_new=self.target_new,
            ground_truth=event.ground_truth,
            relation=self.relation,
            aliases=tuple(event.aliases),
            rephrase_prompts=tuple(event.rephrase_prompts),
            locality_prompts=tuple(event.locality_prompts.all()),
            phrasings=tuple(text for text in dict.fromkeys(phrasings) if text not in own),
            accepted=True,
        )


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One transition of one edit: the fact's audit trail is the list of these."""

    edit_id: EditId
    at: datetime
    from_state: EditState | None
    to_state: EditState
    cause: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One batch of a plan: edits for one editor, or (editor None) retractions that need no training."""

    sequence: int
    lane: Lane
    editor: str | None
    edit_ids: tuple[EditId, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Supersession:
    """A pending edit that lost its conflict, and the edit that won it."""

    loser_id: EditId
    winner_id: EditId


class PlanTrigger(StrEnum):
    """What had a plan made."""

    NIGHTLY = "nightly"  # `schedule.nightly_cron`
    URGENT = "urgent"  # the urgent lane, which is planned every few seconds
    COMMAND = "command"  # a person, by a command
    APPROVAL = "approval"  # a person, who approved what the night had drafted


@dataclass(frozen=True, slots=True)
class PlanCause:
    """What had a plan made; of a person, who it was and why: a command's reason begins with the command."""

    trigger: PlanTrigger
    actor: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered list of batches, with all that is needed to print and to replay it; `cause` None: it was not recorded."""

    lane: Lane | None  # None: both
    seed: int
    batches: tuple[PlannedBatch, ...]
    superseded: tuple[Supersession, ...] = ()
    explanation: Mapping[str, Any] = field(default_factory=dict)  # strategy, clusters, similarities: JSON
    id: int | None = field(default=None, compare=False)  # given by the ledger
    created_at: datetime | None = field(default=None, compare=False)
    cause: PlanCause | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A drafted plan that waits for a person, or what became of it.

    Attributes:
        state: waiting, approved, declined, or replaced by a newer one.
        plan_id: of an approved one, the plan that was put to work.
    """

    id: int
    created_at: datetime
    plan: Plan
    state: str
    decided_by: str | None = None
    reason: str | None = None
    plan_id: int | None = None


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """A batch under lease: every later word about it must carry `token`, or it is refused."""

    id: int
    plan_id: int | None
    lane: Lane
    editor: str | None
    token: int
    attempts: int
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class OpenBatches:
    """The batches of one lane that are `planned` or `leased`."""

    lane: Lane
    state: str
    count: int
    oldest: datetime  # when the one that waits longest was planned


@dataclass(frozen=True, slots=True)
class RejectedEdit:
    """Why verification turned an edit down, with the scores that it reached."""

    reason: str
    scores: Mapping[str, Any] = field(default_factory=dict)


class CheckKind(StrEnum):
    """A sample of every suite; all of every suite; the search for the culprits of a check that failed; or the gateway's
    answers beside those in process."""

    SAMPLE = "sample"
    FULL = "full"
    BLAME = "blame"
    PARITY = "parity"


@dataclass(frozen=True, slots=True)
class ClaimedCheck:
    """A requested locality regression under lease; `progress` is what its last worker left (JSON)."""

    id: int
    suite: str | None  # None: all suites
    token: int
    kind: CheckKind = CheckKind.SAMPLE
    progress: Any | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One published state of the model: what it changed against its parent."""

    number: int
    parent: int | None
    base_hash: str
    shards: tuple[str, ...]  # digests added by this generation
    enabled: Mapping[EditId, str]  # shard digests of the edits switched on by this generation
    disabled: tuple[EditId, ...]  # switched off by this generation
    cause: str
    created_at: datetime
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """A published generation without what it changed."""

    number: int
    base_hash: str
    at: datetime
    cause: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One suite's scores against one generation.

    `baseline` names the probes and the base that they were compared with: results are compared with one another only
    where it is the same.
    """

    suite: str
    generation: int
    at: datetime
    passed: bool
    scores: Mapping[str, float | None]
    probes: int
    baseline: str = ""


@dataclass(frozen=True, slots=True)
class Blamed:
    """Why an edit is quarantined after a check: what it did, in words and as the history keeps it."""

    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One edit outcome on its way to the topic `edit-outcomes`; `key` is the subject, `payload` is JSON."""

    id: int
    key: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker's last sign of life."""

    worker: str
    device: str
    batch_id: int | None
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """What one round of housekeeping did."""

    leases_returned: int
    rows_deleted: int


class GenerationKind(StrEnum):
    """What published a generation."""

    START = "start"  # the base as it is
    BATCH = "batch"
    ROLLBACK = "rollback"  # to an earlier generation, by a person or by a check
    UNDO_FACT = "undo_fact"
    UNDO_GENERATION = "undo_generation"
    BLAME = "blame"  # a check's search for the culprits


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something to the ledger by hand, and why; `expected_head` is what they saw when they decided."""

    actor: str
    reason: str
    expected_head: int | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What somebody did; it is never changed."""

    id: int
    at: datetime
    actor: str
    action: str
    reason: str
    target: Mapping[str, Any]
    changed: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason why no batch may be claimed; all have to be released."""

    id: int
    at: datetime
    actor: str
    reason: str
