"""One maintenance cycle: what waits in the ledger becomes a plan, and the plan is put to work."""

from collections.abc import Sequence

import structlog

from daemon.ledger import Ledger
from daemon.ledger.values import Edit, EditState, Lane, Plan, PlannedBatch, Supersession
from daemon.settings import Settings
from planners import BaseEmbedder, Embedder, Pending, PlanDraft, PlannerSettings, TfidfEmbedder, plan

# An assertion is a rival from the moment it is planned. A pending one of the other lane does not: while
# it waits for its own cycle, an older urgent edit still brings the model nearer to the truth.
_ASSERTS_IN_PLAY = (EditState.PLANNED, EditState.APPLYING, EditState.LIVE)
_RETRACTIONS_IN_PLAY = (EditState.PENDING, EditState.PLANNED, EditState.APPLYING, EditState.RETRACTED)

_log = structlog.get_logger(__name__)


def plan_cycle(
    ledger: Ledger, settings: Settings, *, lanes: Sequence[Lane], dry_run: bool = False
) -> Plan | None:
    """Plan the pending edits of `lanes`; None when nothing is pending there.

    The plan returned is the stored one: edits that moved while it was made are left out. With `dry_run` it is
    the plan that would be stored, and the ledger stays as it is.

    Raises:
        TemporaryError: the ledger, or the device of `planner.embedding = "base"`, is unwell; nothing changed.
        PermanentError: a planner setting or the base model cannot be used.
    """
    lane = lanes[0] if len(set(lanes)) == 1 else None
    edits = ledger.plans.pending(lane, settings.planner.max_edits_per_cycle)
    if not edits:
        return None
    rivals = [edit for edit in ledger.plans.rivals(edits) if _in_play(edit)]
    draft = plan(
        [_pending(edit) for edit in edits],
        rivals=[_pending(edit) for edit in rivals],
        settings=_planner_settings(settings),
        embedder=_embedder(settings),
    )
    made = _plan(draft, lane=lane, seed=settings.planner.seed)
    if dry_run:
        return made
    stored = ledger.plans.get(ledger.plans.store(made))
    _log.info(
        "plan stored",
        plan_id=stored.id,
        lane=lane.value if lane else "all",
        batches=len(stored.batches),
        edits=sum(len(batch.edit_ids) for batch in stored.batches),
        superseded=len(stored.superseded),
    )
    return stored


def _in_play(edit: Edit) -> bool:
    return edit.state in (_RETRACTIONS_IN_PLAY if edit.op == "retract" else _ASSERTS_IN_PLAY)


def _pending(edit: Edit) -> Pending:
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
    return Plan(lane=lane, seed=seed, batches=batches, superseded=superseded, explanation=draft.explanation)


def _planner_settings(settings: Settings) -> PlannerSettings:
    chosen = settings.planner
    return PlannerSettings(
        seed=chosen.seed,
        batch_size=chosen.batch_size,
        clustering=chosen.clustering,
        order=chosen.order,
        batch_editor=chosen.batch_editor,
        urgent_editor=chosen.urgent_editor,
        min_lemoe_cluster=chosen.min_lemoe_cluster,
    )


def _embedder(settings: Settings) -> Embedder:
    if settings.planner.embedding == "tfidf":
        return TfidfEmbedder(seed=settings.planner.seed)
    from daemon.base_vectors import base_vectors  # loads torch: only where the settings ask for it

    return BaseEmbedder(lambda texts: base_vectors(texts, settings.model))
