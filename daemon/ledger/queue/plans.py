"""Give the planner what waits, and keep the plans that it makes."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from daemon.ledger.errors import NotInLedger
from daemon.ledger.records.audit_log import record_act
from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.references import require_finished
from daemon.ledger.store.rows import (
    Standing,
    clip,
    plan_cause_of,
    rival_conditions,
    select_edits,
    standings_by_id,
    to_edit,
)
from daemon.ledger.store.schema import batches, edits, plans
from daemon.ledger.store.schema.columns import REASON_CHARS, WORKER_CHARS
from daemon.ledger.store.transitions import Move, apply_moves, supersede
from daemon.ledger.values import (
    Act,
    Edit,
    EditState,
    Lane,
    Plan,
    PlanCause,
    PlannedBatch,
    PlanTrigger,
    Supersession,
)
from edits.ids import EditId
from edits.recency import by_arrival

_LOST = (EditState.REJECTED, EditState.SUPERSEDED, EditState.QUARANTINED)


class Plans:
    """Pending edits out, ordered plans in."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def pending(self, lane: Lane | None, limit: int) -> list[Edit]:
        """The oldest pending edits of a lane (None: of both), at most `limit`, in the order they arrived."""
        query = select_edits().where(edits.c.state == EditState.PENDING.value)
        if lane is not None:
            query = query.where(edits.c.lane == lane.value)
        with self._database.read() as connection:
            return [to_edit(row) for row in connection.execute(query.order_by(edits.c.id).limit(limit))]

    def rivals(self, members: Sequence[Edit]) -> list[Edit]:
        """The other edits that share a fact or a prompt with `members`, unless rejected or superseded."""
        own = {member.id for member in members}
        out_of_play = [EditState.REJECTED.value, EditState.SUPERSEDED.value]
        found: dict[EditId, Edit] = {}
        with self._database.read() as connection:
            for shares_key in rival_conditions(members):
                query = select_edits().where(shares_key, edits.c.state.not_in(out_of_play))
                for row in connection.execute(query):
                    if row.id not in own and row.id not in found:
                        found[row.id] = to_edit(row)
        return [found[edit_id] for edit_id in by_arrival(found)]

    def store(self, plan: Plan) -> int:
        """Keep a plan and put it to work in one transaction; the plan's number.

        Losers of conflicts are superseded, batches are created, their edits become `planned`. Edits that
        moved since the plan was made are left out, and so are batches without edits; what is kept is what
        is in force.

        Raises:
            ValueError: an edit stands twice in the plan.
            RollbackUnfinished: which of the edits are live is not all written down.
        """
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            plan_id = store_plan(connection, plan, at=at)
            if plan.cause is not None and plan.cause.trigger is PlanTrigger.COMMAND:
                act = Act(plan.cause.actor or "unknown", plan.cause.reason or "")
                record_act(connection, act, "plan", target={}, changed={"plan": plan_id}, at=at)
            return plan_id

    def get(self, plan_id: int) -> Plan:
        """One plan, as it was put to work.

        Raises:
            NotInLedger: there is no such plan.
        """
        with self._database.read() as connection:
            row = connection.execute(select(plans).where(plans.c.id == plan_id)).one_or_none()
        if row is None:
            raise NotInLedger(f"there is no plan {plan_id}")
        return _stored(row)

    def latest(self, n: int) -> list[Plan]:
        """The last `n` plans, the newest first."""
        with self._database.read() as connection:
            return [
                _stored(row) for row in connection.execute(select(plans).order_by(plans.c.id.desc()).limit(n))
            ]


def store_plan(connection: Connection, plan: Plan, *, at: datetime) -> int:
    """See `Plans.store`; the caller holds the head's lock."""
    require_finished(connection)
    planned = [edit_id for batch in plan.batches for edit_id in batch.edit_ids]
    losers = [lost.loser_id for lost in plan.superseded]
    if len({*planned, *losers}) != len(planned) + len(losers):
        raise ValueError("an edit stands twice in the plan")
    found = standings_by_id(connection, [*planned, *losers, *(s.winner_id for s in plan.superseded)])
    superseded = [lost for lost in plan.superseded if _still_holds(lost, found)]
    kept = [
        (batch, members)
        for batch in plan.batches
        if (members := [found[i] for i in batch.edit_ids if _is_pending(found.get(i))])
    ]
    return _write(connection, plan, superseded, kept, found, at=at)


def _write(
    connection: Connection,
    plan: Plan,
    superseded: Sequence[Supersession],
    kept: Sequence[tuple[PlannedBatch, list[Standing]]],
    found: dict[EditId, Standing],
    *,
    at: datetime,
) -> int:
    plan_id = int(
        connection.execute(
            insert(plans)
            .values(
                created_at=at,
                lane=plan.lane.value if plan.lane is not None else None,
                seed=plan.seed,
                body=body_of(_as_kept(plan, superseded, kept)),
                **_cause_columns(plan.cause),
            )
            .returning(plans.c.id)
        ).scalar_one()
    )
    cause = f"plan {plan_id}"
    numbers = create_batches(connection, plan_id, [batch for batch, _ in kept], at)
    moves = plan_moves(superseded, found)
    moves += [
        Move(members, EditState.PLANNED, columns={"batch_id": number})
        for number, (_, members) in zip(numbers, kept, strict=True)
    ]
    apply_moves(connection, moves, cause=cause, at=at)
    return plan_id


def _cause_columns(cause: PlanCause | None) -> dict[str, str | None]:
    if cause is None:
        return {}
    return {
        "origin": cause.trigger.value,
        "actor": None if cause.actor is None else clip(cause.actor, WORKER_CHARS),
        "reason": None if cause.reason is None else clip(cause.reason, REASON_CHARS),
    }


def _as_kept(
    plan: Plan, superseded: Sequence[Supersession], kept: Sequence[tuple[PlannedBatch, list[Standing]]]
) -> Plan:
    return replace(
        plan,
        batches=tuple(
            replace(batch, edit_ids=tuple(member.id for member in members)) for batch, members in kept
        ),
        superseded=tuple(superseded),
    )


def plan_moves(superseded: Sequence[Supersession], found: Mapping[EditId, Standing]) -> list[Move]:
    """The losers of a plan's conflicts, together where one edit ends them."""
    losers: defaultdict[EditId, list[Standing]] = defaultdict(list)
    for lost in superseded:
        losers[lost.winner_id].append(found[lost.loser_id])
    return [supersede(members, found[winner_id]) for winner_id, members in losers.items()]


def create_batches(
    connection: Connection, plan_id: int, new: Sequence[PlannedBatch], at: datetime
) -> list[int]:
    """Insert batches that can be claimed at once; their numbers, in the same order."""
    if not new:
        return []
    rows = [
        {
            "plan_id": plan_id,
            "sequence": batch.sequence,
            "lane": batch.lane.value,
            "editor": batch.editor,
            "state": "planned",
            "reason": clip(batch.reason, REASON_CHARS),
            "token": 0,
            "attempts": 0,
            "free_at": at,
            "created_at": at,
        }
        for batch in new
    ]
    inserted = insert(batches).returning(batches.c.id, sort_by_parameter_order=True)
    return [int(number) for number in connection.execute(inserted, rows).scalars()]


def _is_pending(edit: Standing | None) -> bool:
    return edit is not None and edit.state is EditState.PENDING


def _still_holds(lost: Supersession, found: dict[EditId, Standing]) -> bool:
    """The loser has not moved on, and the winner has neither failed nor been taken back since."""
    loser, winner = found.get(lost.loser_id), found.get(lost.winner_id)
    if loser is None or winner is None or loser.state not in (EditState.PENDING, EditState.PLANNED):
        return False
    is_taken_back = winner.op == "assert" and winner.state is EditState.RETRACTED
    return winner.state not in _LOST and not is_taken_back


def body_of(plan: Plan) -> dict[str, Any]:
    """What is kept of a plan; JSON has the ids as numbers."""
    return {
        "batches": [
            {
                "sequence": batch.sequence,
                "lane": batch.lane.value,
                "editor": batch.editor,
                "edit_ids": [int(edit_id) for edit_id in batch.edit_ids],
                "reason": batch.reason,
            }
            for batch in plan.batches
        ],
        "superseded": [[int(lost.loser_id), int(lost.winner_id)] for lost in plan.superseded],
        "explanation": dict(plan.explanation),
    }


def to_plan(row: Row[Any]) -> Plan:
    """The plan of a row that has its lane, its seed and its body."""
    body = row.body
    return Plan(
        lane=Lane(row.lane) if row.lane is not None else None,
        seed=row.seed,
        batches=tuple(
            PlannedBatch(
                sequence=batch["sequence"],
                lane=Lane(batch["lane"]),
                editor=batch["editor"],
                edit_ids=tuple(map(str, batch["edit_ids"])),
                reason=batch["reason"],
            )
            for batch in body["batches"]
        ),
        superseded=tuple(Supersession(str(loser), str(winner)) for loser, winner in body["superseded"]),
        explanation=body["explanation"],
        id=row.id,
        created_at=row.created_at,
    )


def _stored(row: Row[Any]) -> Plan:
    return replace(to_plan(row), cause=plan_cause_of(row.origin, row.actor, row.reason))
