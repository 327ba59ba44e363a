"""Batches as lists: those that are worked on, with how far they are by what others took, and those that were split."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from daemon.ledger.queue.batches import CLAIM_ORDER, select_batch_lines, to_batch_line
from daemon.ledger.store.database import Database
from daemon.ledger.store.schema import BATCH_IS_OPEN, WAS_SPLIT, batches, edits, history
from daemon.ledger.values import BatchLine, EditState, RunningBatch

MAX_ROWS = 50
PACE_BATCHES = 20  # finished ones of the same editor, which say what an edit takes


class BatchLists:
    """Reads only."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def running(self) -> list[RunningBatch]:
        """The batches that a worker holds, with how long they have taken and how long they may still take."""
        leased = (BATCH_IS_OPEN, batches.c.state == "leased")
        with self._database.read() as connection:
            rows = _lines(connection, *leased, order_by=batches.c.id)
            paces = {editor: _pace(connection, editor) for editor in {row.editor for row in rows}}
            begun = {row.id: _claimed_at(connection, row.id) for row in rows}
        at = self._clock()
        return [_running(row, begun[row.id], paces[row.editor], at) for row in rows]

    def waiting(self) -> list[BatchLine]:
        """The batches that wait for a worker, in the order in which they are claimed."""
        planned = (BATCH_IS_OPEN, batches.c.state == "planned")
        order = (batches.c.lane.desc(), *CLAIM_ORDER)
        with self._database.read() as connection:
            return [to_batch_line(row) for row in _lines(connection, *planned, order_by=order)]

    def split(self) -> list[BatchLine]:
        """The batches that were replaced by smaller ones, the newest first."""
        with self._database.read() as connection:
            return [to_batch_line(row) for row in _lines(connection, WAS_SPLIT, order_by=batches.c.id.desc())]


def _lines(
    connection: Connection, *conditions: Any, order_by: ColumnElement[Any] | Sequence[ColumnElement[Any]]
) -> Sequence[Row[Any]]:
    order = order_by if isinstance(order_by, tuple) else (order_by,)
    query = select_batch_lines().where(*conditions)
    return connection.execute(query.order_by(*order).limit(MAX_ROWS)).all()


def _claimed_at(connection: Connection, batch_id: int) -> datetime | None:
    """When a batch was last claimed, as the history of one of its edits tells."""
    one = select(func.min(edits.c.id)).where(edits.c.batch_id == batch_id).scalar_subquery()
    claimed = select(func.max(history.c.at)).where(
        history.c.edit_id == one, history.c.to_state == EditState.APPLYING.value
    )
    at: datetime | None = connection.execute(claimed).scalar_one()
    return at


def _pace(connection: Connection, editor: str | None) -> float | None:
    """Seconds that an edit took in the last finished batches of an editor; None: nobody knows yet."""
    done = (
        batches.c.editor == editor if editor is not None else batches.c.editor.is_(None),
        batches.c.finished_at.is_not(None),
        batches.c.state == "done",
    )
    query = select(batches.c.id, batches.c.finished_at).where(*done)
    last = connection.execute(query.order_by(batches.c.finished_at.desc()).limit(PACE_BATCHES)).all()
    seconds = []
    for batch in last:
        many = connection.execute(
            select(func.count()).select_from(edits).where(edits.c.batch_id == batch.id)
        ).scalar_one()
        begun = _claimed_at(connection, batch.id)
        if many and begun is not None and batch.finished_at >= begun:
            seconds.append((batch.finished_at - begun).total_seconds() / many)
    return median(seconds) if seconds else None


def _running(row: Row[Any], begun: datetime | None, pace: float | None, at: datetime) -> RunningBatch:
    took = max(at - begun, timedelta()) if begun is not None else None
    whole = timedelta(seconds=pace * row.members) if pace is not None else None
    left = max(whole - took, timedelta()) if whole is not None and took is not None else None
    return RunningBatch(to_batch_line(row), took, whole, left, is_silent=row.free_at <= at)
