"""Hold and release the work, let failed edits try again, see the workers, and keep the ledger small."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from daemon.ledger.errors import ForbiddenMove, NotInLedger
from daemon.ledger.queue.batches import return_expired
from daemon.ledger.queue.embeddings import KEPT_EMBEDDINGS, drop_old_embeddings
from daemon.ledger.queue.jobs import drop_ahead
from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.rows import Standing, clip, standings, standings_by_id
from daemon.ledger.store.schema import REASON_CHARS, WORKER_CHARS, edits, head, jobs, outbox, workers
from daemon.ledger.store.transitions import Move, apply_moves
from daemon.ledger.values import EditState, Housekeeping, WorkerSeen

_MAY_TRY_AGAIN = (EditState.REJECTED, EditState.QUARANTINED)


class Control:
    """The operator's and the scheduler's hands on the ledger."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def hold(self, reason: str) -> None:
        """Let nobody claim another batch until `release`; work in progress may still be published."""
        with self._database.write() as connection:
            connection.execute(update(head).values(hold_reason=clip(reason, REASON_CHARS)))

    def release(self) -> None:
        """Let batches be claimed again."""
        with self._database.write() as connection:
            connection.execute(update(head).values(hold_reason=None))

    def held(self) -> str | None:
        """Why batches are held; None: they are not."""
        with self._database.read() as connection:
            reason: str | None = connection.execute(select(head.c.hold_reason)).scalar_one()
            return reason

    def retry(self, edit_id: int, *, cause: str) -> None:
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
            _try_again(connection, [edit], cause, self._clock())

    def retry_quarantined(self, *, cause: str) -> list[int]:
        """Let every quarantined edit try again; their ids."""
        with self._database.write() as connection:
            lock_head(connection)
            members = standings(connection, edits.c.state == EditState.QUARANTINED.value)
            _try_again(connection, members, cause, self._clock())
            return sorted(member.id for member in members)

    def workers_seen(self, worker: str, device: str, batch_id: int | None) -> None:
        """A worker's sign of life: its device, and the batch it is at."""
        name = clip(worker, WORKER_CHARS)
        values = {"device": clip(device, 100), "batch_id": batch_id, "seen_at": self._clock()}
        with self._database.write() as connection:
            known = update(workers).where(workers.c.worker == name).values(**values)
            if connection.execute(known).rowcount == 0:
                connection.execute(insert(workers).values(worker=name, **values))

    def workers(self) -> list[WorkerSeen]:
        """Every worker that gave a sign of life since the last housekeeping cleared them, by name."""
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


def _try_again(connection: Connection, members: list[Standing], cause: str, at: datetime) -> None:
    afresh = {"batch_id": None, "attempts": 0}
    apply_moves(connection, [Move(members, EditState.PENDING, columns=afresh)], cause=cause, at=at)
