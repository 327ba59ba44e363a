"""Batches as lists: of a plan, those that wait, those that are worked on (with how far they are), those that were split."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, TextClause, func, select

from daemon.ledger.history.batch_halves import halves_of, states_of_edits
from daemon.ledger.page_values import MAX_LISTED, BatchLine, HalfBatch, RunningBatch, SplitBatch
from daemon.ledger.queue.batches import CLAIM_ORDER
from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import CAUSE_OF_PLAN, chunks, from_row, plan_cause_of
from daemon.ledger.store.schema import batches, edits, history, plans
from daemon.ledger.store.schema.conditions import BATCH_IS_OPEN, WAS_SPLIT
from daemon.ledger.values import EditState, Lane

MAX_ROWS = 50
PACE_BATCHES = 20  # finished ones of the same editor, which say what an edit takes
_LEASED = (BATCH_IS_OPEN, batches.c.state == "leased")


class BatchLists:
    """Reads only; a list is truncated at its page: `MAX_LISTED`, or `MAX_ROWS` of what the console shows."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def of_plan(self, plan_id: int) -> list[BatchLine]:
        """The open batches of a plan, with what they were split into, in the order in which they are claimed."""
        return self._lines(
            BATCH_IS_OPEN, batches.c.plan_id == plan_id, order_by=CLAIM_ORDER, limit=MAX_LISTED
        )

    def leased(self) -> list[BatchLine]:
        """The batches that a worker holds, or held until its lease ran out."""
        return self._lines(*_LEASED, order_by=CLAIM_ORDER, limit=MAX_LISTED)

    def running(self) -> list[RunningBatch]:
        """The batches that a worker holds, with how long they have taken and how long they may still take."""
        query = select_batch_lines().where(*_LEASED).order_by(batches.c.id).limit(MAX_ROWS)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            paces = {editor: _pace(connection, editor) for editor in {row.editor for row in rows}}
            begun = {row.id: _claimed_at(connection, row.id) for row in rows}
        at = self._clock()
        return [_running(row, begun[row.id], paces[row.editor], at) for row in rows]

    def waiting(self) -> list[BatchLine]:
        """The batches that wait for a worker, in the order in which they are claimed."""
        planned = (BATCH_IS_OPEN, batches.c.state == "planned")
        return self._lines(*planned, order_by=(batches.c.lane.desc(), *CLAIM_ORDER))

    def split(self) -> list[SplitBatch]:
        """The batches that were replaced by smaller ones, the newest first, each with what became of those."""
        query = select_batch_lines().where(WAS_SPLIT).order_by(batches.c.id.desc()).limit(MAX_ROWS)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            halves = halves_of(connection, rows)
            made = _halves(connection, [number for few in halves.values() for number in few])
        return [
            SplitBatch(to_batch_line(row), tuple(made[number] for number in halves[row.id])) for row in rows
        ]

    def _lines(
        self,
        *conditions: ColumnElement[bool] | TextClause,
        order_by: Sequence[ColumnElement[Any]],
        limit: int = MAX_ROWS,
    ) -> list[BatchLine]:
        query = select_batch_lines().where(*conditions).order_by(*order_by).limit(limit)
        with self._database.read() as connection:
            return [to_batch_line(row) for row in connection.execute(query)]


def _halves(connection: Connection, numbers: Sequence[int]) -> dict[int, HalfBatch]:
    found: dict[int, HalfBatch] = {}
    for part in chunks(numbers):
        states = states_of_edits(connection, part)
        for row in connection.execute(select_batch_lines().where(batches.c.id.in_(part))):
            found[row.id] = HalfBatch(to_batch_line(row), states.get(row.id, {}))
    return found


def batch_line(connection: Connection, batch_id: int | None) -> BatchLine | None:
    """One batch, whatever its state; None where there is none."""
    row = connection.execute(select_batch_lines().where(batches.c.id == batch_id)).one_or_none()
    return None if row is None else to_batch_line(row)


def select_batch_lines() -> Select[Any]:
    """The rows that `to_batch_line` takes: of `batches`, with how many edits each has."""
    members = select(func.count()).select_from(edits).where(edits.c.batch_id == batches.c.id)
    return select(batches, members.scalar_subquery().label("members"), *CAUSE_OF_PLAN).join(
        plans, plans.c.id == batches.c.plan_id
    )


def to_batch_line(row: Row[Any]) -> BatchLine:
    """One of `select_batch_lines`."""
    return from_row(
        BatchLine,
        row,
        lane=Lane(row.lane),
        edits=int(row.members),
        planned_by=plan_cause_of(row.plan_origin, row.plan_actor, row.plan_reason),
    )


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
