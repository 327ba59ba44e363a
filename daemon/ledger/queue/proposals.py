"""Plans that wait for a person: drafted, shown, and put to work only when somebody says so.

A proposal moves no edit: all stay pending, so nothing is lost if nobody looks. A newer proposal takes an older one's place.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from daemon.ledger.errors import ForbiddenMove, NotInLedger
from daemon.ledger.queue.plans import body_of, store_plan, to_plan
from daemon.ledger.records.audit_log import record_act
from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import plan_proposals
from daemon.ledger.store.schema.columns import REASON_CHARS, WORKER_CHARS
from daemon.ledger.values import Act, Plan, PlanCause, PlanTrigger, Proposal


class Proposals:
    """One at most waits; those that were decided stay, with who decided and why."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def propose(self, plan: Plan) -> int:
        """Let a drafted plan wait for a person, in the place of the one that waits; the proposal's number."""
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            waits = plan_proposals.c.state == "waiting"
            replaced = update(plan_proposals).where(waits)
            connection.execute(replaced.values(state="replaced", decided_at=at))
            row = {
                "created_at": at,
                "lane": plan.lane.value if plan.lane is not None else None,
                "seed": plan.seed,
                "body": body_of(plan),
                "state": "waiting",
            }
            added = insert(plan_proposals).values(**row).returning(plan_proposals.c.id)
            return int(connection.execute(added).scalar_one())

    def waiting(self) -> Proposal | None:
        """The proposal that waits for a person."""
        query = select(plan_proposals).where(plan_proposals.c.state == "waiting")
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _to_proposal(row)

    def is_waiting(self) -> bool:
        """Whether one waits; reads nothing of it."""
        query = select(plan_proposals.c.id).where(plan_proposals.c.state == "waiting")
        with self._database.read() as connection:
            return connection.execute(query).one_or_none() is not None

    def get(self, proposal_id: int) -> Proposal:
        """One proposal, whatever became of it.

        Raises:
            NotInLedger: there is no such proposal.
        """
        with self._database.read() as connection:
            return _to_proposal(_row(connection, proposal_id))

    def approve(self, proposal_id: int, act: Act) -> int:
        """Put the proposed plan to work, without edits that moved since it was made; the plan's number.

        Raises:
            NotInLedger: there is no such proposal.
            ForbiddenMove: it was decided, or a newer one took its place.
        """
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            row = _waiting_row(connection, proposal_id)
            cause = PlanCause(PlanTrigger.APPROVAL, act.actor, act.reason)
            plan_id = store_plan(connection, replace(_to_proposal(row).plan, cause=cause), at=at)
            _decide(connection, proposal_id, "approved", act, at, plan_id=plan_id)
            return plan_id

    def decline(self, proposal_id: int, act: Act) -> None:
        """Leave all its edits pending: the next nightly run drafts them anew.

        Raises:
            NotInLedger: there is no such proposal.
            ForbiddenMove: it was decided, or a newer one took its place.
        """
        with self._database.write() as connection:
            lock_head(connection)
            _waiting_row(connection, proposal_id)
            _decide(connection, proposal_id, "declined", act, self._clock())


def _decide(
    connection: Connection,
    proposal_id: int,
    state: str,
    act: Act,
    at: datetime,
    *,
    plan_id: int | None = None,
) -> None:
    decided = {
        "state": state,
        "decided_at": at,
        "decided_by": clip(act.actor, WORKER_CHARS),
        "reason": clip(act.reason, REASON_CHARS),
        "plan_id": plan_id,
    }
    connection.execute(update(plan_proposals).where(plan_proposals.c.id == proposal_id).values(**decided))
    verb = "approve_plan" if state == "approved" else "decline_plan"
    changed = {} if plan_id is None else {"plan": plan_id}
    record_act(connection, act, verb, target={"proposal": proposal_id}, changed=changed, at=at)


def _row(connection: Connection, proposal_id: int) -> Row[Any]:
    row = connection.execute(select(plan_proposals).where(plan_proposals.c.id == proposal_id)).one_or_none()
    if row is None:
        raise NotInLedger(f"there is no proposed plan {proposal_id}")
    return row


def _waiting_row(connection: Connection, proposal_id: int) -> Row[Any]:
    row = _row(connection, proposal_id)
    if row.state != "waiting":
        raise ForbiddenMove(f"the proposed plan {proposal_id} was {row.state}")
    return row


def _to_proposal(row: Row[Any]) -> Proposal:
    return Proposal(
        id=row.id,
        created_at=row.created_at,
        plan=replace(to_plan(row), id=None),
        state=row.state,
        decided_by=row.decided_by,
        reason=row.reason,
        plan_id=row.plan_id,
    )
