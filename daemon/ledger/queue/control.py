"""Hold and release the work, let failed edits try again, see the workers, and keep the ledger small."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from daemon.ledger.errors import ForbiddenMove, NotInLedger
from daemon.ledger.page_values import MAX_LISTED
from daemon.ledger.queue.batches import return_expired
from daemon.ledger.queue.embeddings import KEPT_EMBEDDINGS, drop_old_embeddings
from daemon.ledger.queue.holds import add_hold, end_holds, open_holds
from daemon.ledger.queue.jobs import drop_ahead
from daemon.ledger.records.audit_log import record_act
from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.rows import Standing, clip, standings, standings_by_id
from daemon.ledger.store.schema import edits, head, jobs, outbox, workers
from daemon.ledger.store.schema.columns import WORKER_CHARS
from daemon.ledger.store.transitions import Move, apply_moves
from daemon.ledger.values import Act, EditState, Hold, Housekeeping, WorkerSeen
from edits.ids import EditId

_MAY_TRY_AGAIN = (EditState.REJECTED, EditState.QUARANTINED)


class Control:
    """The operator's and the scheduler's hands on the ledger."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def hold(self, reason: str, *, actor: str = "upkeep") -> int | None:
        """Let nobody claim another batch until this is released; work in progress may still be published.

        The hold's number; None where the same person holds them for the same reason already.
        """
        act = Act(actor, reason)
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            number = add_hold(connection, act, at)
            if number is not None:
                record_act(connection, act, "hold", target={"hold": number}, changed={}, at=at)
        return number

    def release(self, *, actor: str = "upkeep", reason: str = "", hold_id: int | None = None) -> list[Hold]:
        """End one hold, or all: with the last one batches may be claimed again. Those that were ended.

        Raises:
            NotInLedger: there is no such hold, or it was released before.
        """
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            ended = end_holds(connection, actor, at, hold_id)
            if hold_id is not None and not ended:
                raise NotInLedger(f"there is no hold {hold_id} that stands")
            for one in ended:
                changed = {"reason": one.reason, "held_by": one.actor}
                act = Act(actor, reason)
                record_act(connection, act, "release", target={"hold": one.id}, changed=changed, at=at)
        return ended

    def holds(self) -> list[Hold]:
        """Every reason why batches are held, the oldest first."""
        with self._database.read() as connection:
            return open_holds(connection)

    def held(self) -> str | None:
        """The first reason why batches are held; None: they are not."""
        with self._database.read() as connection:
            reason: str | None = connection.execute(select(head.c.hold_reason)).scalar_one()
            return reason

    def retry(self, edit_id: EditId, *, cause: str, act: Act | None = None) -> None:
        """Let a rejected or quarantined edit try again: it is pending, as if it had just arrived.

        If a newer edit of its fact went live meanwhile, the next plan supersedes it.

        Raises:
            NotInLedger: there is no such edit.
            ForbiddenMove: the edit is neither rejected nor quarantined.
        """
        with self._database.write() as connection:
            lock_head(connection)
            edit = standings_by_id(connection, [edit_id]).get(edit_id)
            if edit is None:
                raise NotInLedger(f"there is no edit {edit_id}")
            if edit.state not in _MAY_TRY_AGAIN:
                raise ForbiddenMove(
                    f"edit {edit_id} is {edit.state.value}: only a rejected or quarantined edit can try again"
                )
            _try_again(connection, [edit], cause, self._clock(), act)

    def retry_quarantined(self, *, cause: str, act: Act | None = None) -> list[EditId]:
        """Let every quarantined edit try again; their ids, as they arrived."""
        with self._database.write() as connection:
            lock_head(connection)
            members = standings(connection, edits.c.state == EditState.QUARANTINED.value)
            _try_again(connection, members, cause, self._clock(), act)
            return [member.id for member in members]

    def workers_seen(self, worker: str, device: str, batch_id: int | None) -> None:
        """A worker's sign of life: its device, and the batch it is at."""
        name = clip(worker, WORKER_CHARS)
        values = {"device": clip(device, 100), "batch_id": batch_id, "seen_at": self._clock()}
        with self._database.write() as connection:
            known = update(workers).where(workers.c.worker == name).values(**values)
            if connection.execute(known).rowcount == 0:
                connection.execute(insert(workers).values(worker=name, **values))

    def worker_ended(self, worker: str) -> None:
        """A worker ended as it should: nobody has to ask where it is."""
        with self._database.write() as connection:
            connection.execute(delete(workers).where(workers.c.worker == clip(worker, WORKER_CHARS)))

    def workers(self) -> list[WorkerSeen]:
        """Every worker that gave a sign of life and did not end since, by name; housekeeping clears old ones."""
        with self._database.read() as connection:
            rows = connection.execute(select(workers).order_by(workers.c.worker))
            return [WorkerSeen(row.worker, row.device, row.batch_id, row.seen_at) for row in rows]

    def housekeep(self, keep_days: float, *, kept_embeddings: int = KEPT_EMBEDDINGS) -> Housekeeping:
        """Free the leases that ran out; delete what has outlived `keep_days`.

        Sent outcomes, job slots, workers and cached embeddings go; of the latter the newest so many stay.

        Records, edits, their history, plans, generations and check results are the audit trail: they stay.
        """
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            oldest = at - timedelta(days=keep_days)
            returned = return_expired(connection, at)
            deleted = sum(
                connection.execute(delete(table).where(column < oldest)).rowcount
                for table, column in (
                    (outbox, outbox.c.sent_at),
                    (jobs, jobs.c.started_at),
                    (workers, workers.c.seen_at),
                )
            )
            deleted += drop_ahead(connection, at)
            deleted += drop_old_embeddings(connection, oldest, kept_embeddings)
        return Housekeeping(leases_returned=returned, rows_deleted=deleted)


def _try_again(
    connection: Connection, members: list[Standing], cause: str, at: datetime, act: Act | None
) -> None:
    afresh = {"batch_id": None, "attempts": 0}
    apply_moves(connection, [Move(members, EditState.PENDING, columns=afresh)], cause=cause, at=at)
    if act is not None and members:
        target = {"edits": [int(member.id) for member in members[:MAX_LISTED]]}
        record_act(connection, act, "retry", target=target, changed={"pending": len(members)}, at=at)
