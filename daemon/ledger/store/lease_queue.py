"""Rows that one worker at a time holds by a lease: batches and checks are claimed, kept and given back alike.

A claim raises the row's fencing token. Whoever comes with an older one changes nothing, however late and sure of itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, TextClause, and_, or_, select, update

from daemon.ledger.errors import LeaseLost
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import batches, checks
from daemon.ledger.store.schema.columns import WORKER_CHARS
from daemon.ledger.store.schema.conditions import BATCH_IS_OPEN, CHECK_IS_OPEN

# What lies further ahead was written under a wrong clock, and must not keep a row until that time comes.
MAX_DELAY = timedelta(hours=1)  # of a row that waits
MAX_LEASE = timedelta(days=1)  # as worker.lease_seconds allows


@dataclass(frozen=True, slots=True)
class LeaseQueue:
    """One table's leases; the caller holds the head's lock.

    Attributes:
        noun: what a row is, for errors.
        waiting: the state of a row that nobody holds and that is not finished.
        given_up: the state of a row that was claimed too often.
        is_open: the condition of the table's partial index: waiting or leased.
    """

    table: Table
    noun: str
    waiting: str
    given_up: str
    is_open: TextClause

    def next_free(
        self,
        connection: Connection,
        at: datetime,
        *conditions: ColumnElement[bool],
        order_by: Sequence[ColumnElement[Any]],
    ) -> Row[Any] | None:
        """The first open row that meets the conditions and that nobody holds any more; None: there is none."""
        free = select(self.table).where(self.is_open, *conditions, self.is_free(at))
        return connection.execute(free.order_by(*order_by).limit(1)).one_or_none()

    def is_free(self, at: datetime) -> ColumnElement[bool]:
        """Whether nobody holds an open row at this time, and nothing puts it off."""
        row = self.table.c
        waits = and_(row.state == self.waiting, row.free_at > at + MAX_DELAY)
        return or_(row.free_at <= at, waits, row.free_at > at + MAX_LEASE)

    def claim(
        self, connection: Connection, row: Row[Any], worker: str, *, until: datetime, **columns: Any
    ) -> int:
        """Lease a free row and count the attempt; its new token."""
        claimed = {
            "state": "leased",
            "token": row.token + 1,
            "attempts": row.attempts + 1,
            "worker": clip(worker, WORKER_CHARS),
            "free_at": until,
            **columns,
        }
        connection.execute(update(self.table).where(self.table.c.id == row.id).values(**claimed))
        return int(row.token) + 1

    def held(self, connection: Connection, number: int, token: int) -> Row[Any]:
        """The row, if this token still holds it.

        Raises:
            LeaseLost: somebody else has it, or it is done.
        """
        row = connection.execute(select(self.table).where(*self._holds(number, token))).one_or_none()
        if row is None:
            raise self._lost(number)
        return row

    def update(self, connection: Connection, number: int, token: int, **columns: Any) -> None:
        """Write to the row, if this token still holds it.

        Raises:
            LeaseLost: somebody else has it, or it is done.
        """
        held = update(self.table).where(*self._holds(number, token))
        if connection.execute(held.values(**columns)).rowcount != 1:
            raise self._lost(number)

    def release(
        self, connection: Connection, number: int, token: int, *, free_at: datetime, **columns: Any
    ) -> None:
        """Give the row back: anybody may claim it from then on.

        Raises:
            LeaseLost: somebody else has it, or it is done.
        """
        self.update(connection, number, token, state=self.waiting, worker=None, free_at=free_at, **columns)

    def give_up(
        self, connection: Connection, row: Row[Any], max_attempts: int | None, *, at: datetime, **columns: Any
    ) -> bool:
        """Close a row that was claimed `max_attempts` times (None: as often as it likes); whether it is closed."""
        if max_attempts is None or row.attempts < max_attempts:
            return False
        same = (self.table.c.id == row.id, self.table.c.token == row.token)
        closed = update(self.table).where(*same).values(state=self.given_up, finished_at=at, **columns)
        connection.execute(closed)
        return True

    def _holds(self, number: int, token: int) -> tuple[ColumnElement[bool], ...]:
        row = self.table.c
        return (row.id == number, row.token == token, row.state == "leased")

    def _lost(self, number: int) -> LeaseLost:
        return LeaseLost(f"the lease of {self.noun} {number} is lost: another worker has it, or it is done")


BATCHES = LeaseQueue(batches, "batch", "planned", "quarantined", BATCH_IS_OPEN)
CHECKS = LeaseQueue(checks, "check", "waiting", "failed", CHECK_IS_OPEN)
