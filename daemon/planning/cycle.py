"""One maintenance cycle: what waits in the ledger becomes a plan, and the plan is put to work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from daemon.ledger import Ledger
from daemon.ledger.values import Edit, EditState, Lane, Plan, PlanCause, PlannedBatch, Supersession
from daemon.planning.embedders import open_embedder
from daemon.planning.servable import servable_draft
from daemon.settings.settings import Settings
from planners import Pending, PlanDraft, plan

# An assertion is a rival from the moment it is planned. A pending one of the other lane does not: while
# it waits for its own cycle, an older urgent edit still brings the model nearer to the truth.
_ASSERTS_IN_PLAY = (EditState.PLANNED, EditState.APPLYING, EditState.LIVE)
_RETRACTIONS_IN_PLAY = (EditState.PENDING, EditState.PLANNED, EditState.APPLYING, EditState.RETRACTED)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one cycle would do: the plan, the planner's draft of it, and the edits that it was made from."""

    plan: Plan
    draft: PlanDraft
    edits: Sequence[Edit]


def draft_cycle(ledger: Ledger, settings: Settings, *, lanes: Sequence[Lane]) -> Cycle | None:
    """Plan the pending edits of `lanes` and store nothing but the embeddings; None when nothing is pending there.

    Raises:
        TemporaryError: the ledger is unwell; nothing changed.
        PermanentError: the embedder cannot be used.
    """
    lane = lanes[0] if len(set(lanes)) == 1 else None
    edits = ledger.plans.pending(lane, settings.planner.max_edits_per_cycle)
    if not edits:
        return None
    rivals = [edit for edit in ledger.plans.rivals(edits) if in_play(edit)]
    draft = plan(
        [to_pending(edit) for edit in edits],
        rivals=[to_pending(edit) for edit in rivals],
        settings=settings.planner,
        embedder=open_embedder(settings, ledger),
    )
    draft = servable_draft(draft, settings.serve.engine)
    return Cycle(_plan(draft, lane=lane, seed=settings.planner.seed), draft, edits)


def store_cycle(ledger: Ledger, cycle: Cycle, *, cause: PlanCause | None = None) -> Plan:
    """Put a drafted plan to work; what comes back is the stored one, without edits that moved since."""
    stored = ledger.plans.get(ledger.plans.store(replace(cycle.plan, cause=cause)))
    _log.info(
        "plan stored",
        plan_id=stored.id,
        lane=stored.lane.value if stored.lane else "all",
        batches=len(stored.batches),
        edits=sum(len(batch.edit_ids) for batch in stored.batches),
        superseded=len(stored.superseded),
    )
    return stored


def plan_cycle(
    ledger: Ledger, settings: Settings, *, lanes: Sequence[Lane], cause: PlanCause | None = None
) -> Plan | None:
    """Plan the pending edits of `lanes` and put the plan to work; None when nothing is pending there.

    Args:
        cause: who or what wants the plan; the ledger keeps it with the plan.
    """
    cycle = draft_cycle(ledger, settings, lanes=lanes)
    return None if cycle is None else store_cycle(ledger, cycle, cause=cause)


def in_play(edit: Edit) -> bool:
    """Whether a plan has to reckon with an edit that it does not plan itself."""
    return edit.state in (_RETRACTIONS_IN_PLAY if edit.op == "retract" else _ASSERTS_IN_PLAY)


def to_pending(edit: Edit) -> Pending:
    """An edit as planners know it."""
    return Pending(
        edit_id=edit.id,
        op=edit.op,
        subject=edit.subject,
        relation=edit.relation,
        prompt=edit.prompt,
        fact_key=edit.fact_key,
        prompt_key=edit.prompt_key,
        urgent=edit.priority is Lane.URGENT,
        occurred_at=edit.occurred_at,
        offset=edit.offset,
        target_new=edit.target_new,
    )


def _plan(draft: PlanDraft, *, lane: Lane | None, seed: int) -> Plan:
    batches = tuple(
        PlannedBatch(
            sequence=sequence,
            lane=Lane.URGENT if batch.urgent else Lane.BATCH,
            editor=batch.editor,
            edit_ids=batch.edit_ids,
            reason=batch.reason,
        )
        for sequence, batch in enumerate(draft.batches)
    )
    superseded = tuple(Supersession(loser, winner) for loser, winner in draft.superseded)
    return Plan(
        lane=lane, seed=seed, batches=batches, superseded=superseded, explanation=_numbered(draft.explanation)
    )


def _numbered(reported: Any) -> Any:
    """The same explanation; JSON has the ids of edits as numbers."""
    match reported:
        case Mapping():
            return {name: int(it) if name == "edit" else _numbered(it) for name, it in reported.items()}
        case list():
            return [_numbered(part) for part in reported]
        case _:
            return reported
