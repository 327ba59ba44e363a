"""What a plan changes, as people read it: each fact's answer now and then, and which edits lost their conflicts to which.

Nothing is embedded and nothing is stored: what the planner decides about conflicts needs neither.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from daemon.ledger import Ledger
from daemon.ledger.values import Edit, EditState, Lane, Plan
from daemon.planning.cycle import in_play, to_pending
from edits.recency import rival_keys
from planners.conflicts import resolve


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One edit that a plan trains or takes back.

    Attributes:
        old: the live edit whose answer it replaces; None: the base answers.
        batch: its batch's place in the plan; None: not known before the plan is made.
    """

    edit: Edit
    old: Edit | None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class LostConflict:
    """An edit that is superseded before it is applied, and the one that wins."""

    loser: Edit
    winner: Edit


@dataclass(frozen=True, slots=True)
class PlannedChanges:
    """A plan's changes, in the plan's order, and its conflicts; `more` edits are planned that are not listed."""

    changes: Sequence[PlannedChange]
    lost: Sequence[LostConflict]
    more: int = 0


def changes_of_pending(ledger: Ledger, *, lane: Lane | None = None, limit: int) -> PlannedChanges:
    """What the next plan would change: of the pending edits of a lane (None: of both) the oldest `limit`."""
    edits = ledger.plans.pending(lane, limit)
    rivals = ledger.plans.rivals(edits) if edits else []
    contenders = [rival for rival in rivals if in_play(rival)]
    resolved = resolve([to_pending(edit) for edit in edits], [to_pending(rival) for rival in contenders])
    by_id = {edit.id: edit for edit in (*edits, *contenders)}
    live = _live_by_key(rivals)
    return PlannedChanges(
        changes=[_change(by_id[winner.edit_id], live) for winner in resolved.winners],
        lost=[LostConflict(by_id[loser], by_id[winner]) for loser, winner in resolved.superseded.items()],
    )


def changes_of_plan(ledger: Ledger, plan: Plan, *, limit: int) -> PlannedChanges:
    """What a plan changes; at most `limit` edits and conflicts are listed."""
    places = {edit_id: batch.sequence for batch in plan.batches for edit_id in batch.edit_ids}
    listed = ledger.audit.edits([*places][:limit])
    live = _live_by_key([*listed, *ledger.plans.rivals(listed)] if listed else [])
    lost = plan.superseded[:limit]
    named = {
        edit.id: edit
        for edit in ledger.audit.edits([i for one in lost for i in (one.loser_id, one.winner_id)])
    }
    by_id = {edit.id: edit for edit in listed}
    return PlannedChanges(
        changes=[_change(by_id[i], live, places[i]) for i in [*places][:limit] if i in by_id],
        lost=[LostConflict(named[one.loser_id], named[one.winner_id]) for one in lost],
        more=max(len(places) - limit, 0),
    )


def _change(edit: Edit, live: Mapping[tuple[str, str], Edit], batch: int | None = None) -> PlannedChange:
    old = next((live[key] for key in rival_keys(edit) if key in live), None)
    return PlannedChange(edit, None if old is not None and old.id == edit.id else old, batch)


def _live_by_key(edits: Iterable[Edit]) -> dict[tuple[str, str], Edit]:
    return {key: edit for edit in edits if edit.state is EditState.LIVE for key in rival_keys(edit)}
