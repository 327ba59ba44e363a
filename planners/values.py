"""The values that go into a plan and come out of it; they know neither the ledger nor torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edits.ids import EditId
from edits.recency import Recency, recency_of


@dataclass(frozen=True, slots=True)
class Pending:
    """One edit as the planner sees it; `op` is "assert" or "retract", and a retraction may lack a prompt."""

    edit_id: EditId
    op: str
    subject: str
    relation: str | None
    prompt: str | None
    fact_key: str
    prompt_key: str | None
    urgent: bool
    occurred_at: datetime
    offset: int
    target_new: str | None = None

    @property
    def retracts(self) -> bool:
        """Whether this edit takes a fact back instead of stating one."""
        return self.op == "retract"

    @property
    def recency(self) -> Recency:
        """What decides between rivals: the greater is the newer."""
        return recency_of(self.occurred_at, self.offset, self.edit_id)


@dataclass(frozen=True, slots=True)
class DraftBatch:
    """Edits that are trained and published together; editor None: retractions, which need no training."""

    urgent: bool
    editor: str | None
    edit_ids: tuple[EditId, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class ProjectionPoint:
    """Where an edit of the batch lane lies in the plot of a plan; `sequence` is its batch's."""

    edit_id: EditId
    sequence: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """Batches in the order in which they shall run, and which edit lost to which: (loser id, winner id)."""

    batches: tuple[DraftBatch, ...]
    superseded: tuple[tuple[EditId, EditId], ...]
    explanation: Mapping[str, Any] = field(default_factory=dict)  # JSON; see planners.explain
    projection: tuple[ProjectionPoint, ...] = ()  # of many edits a sample, with some of every clustered batch
