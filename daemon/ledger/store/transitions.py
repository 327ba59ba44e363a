"""The one place where an edit changes its state: checked, written to the history, told to the outbox."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    String,
    Table,
    cast,
    func,
    insert,
    literal,
    select,
    update,
)

from daemon.ledger.errors import ForbiddenMove
from daemon.ledger.store.json_object import json_object
from daemon.ledger.store.rows import Standing, chunks, clip
from daemon.ledger.store.schema import edits, history, outbox, tallies
from daemon.ledger.store.schema.columns import CAUSE_CHARS, REASON_CHARS, Moment
from daemon.ledger.store.states import OUTCOMES, require_allowed
from daemon.ledger.values import EditState
from edits.ids import EditId

ROLLBACKS = "rollbacks"


@dataclass(frozen=True, slots=True)
class Move:
    """Edits that go from where they stand to one state, for one reason.

    Attributes:
        reason: replaces the edit's own.
        generation: the one in which it happens; it goes into the history and the outcome (and into the edit only as one of
            `columns`).
        columns: what is written into the edit with it.
        detail: what the history says besides.
    """

    edits: Sequence[Standing]
    to: EditState
    reason: str | None = None
    generation: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)


def apply_moves(connection: Connection, moves: Iterable[Move], *, cause: str, at: datetime) -> None:
    """Carry moves out, one after the other: what leaves the live set stands in front of what enters it.

    The caller holds the head's lock.

    Raises:
        ForbiddenMove: one of the moves is not allowed, or an edit no longer stands where it stood.
    """
    for move in moves:
        if move.edits:
            _apply(connection, move, cause=cause, at=at)


def supersede(losers: Sequence[Standing], winner: Standing, *, generation: int | None = None) -> Move:
    """Older edits lose to a newer one."""
    reason = f"edit {winner.id} is newer"
    detail = {"superseded_by": int(winner.id)}  # JSON has the number, as always
    return Move(losers, EditState.SUPERSEDED, reason, generation, {"superseded_by": winner.id}, detail)


def give_way(losers: Sequence[Standing], winner: Standing, *, generation: int | None = None) -> Move:
    """Older edits go where a newer one sends them: superseded by an assertion, retracted by a retraction."""
    if winner.op != "retract":
        return supersede(losers, winner, generation=generation)
    reason = f"edit {winner.id} retracts it"
    return Move(losers, EditState.RETRACTED, reason, generation, {"superseded_by": None})


def _apply(connection: Connection, move: Move, *, cause: str, at: datetime) -> None:
    reason = clip(move.reason, REASON_CHARS) if move.reason is not None else None
    columns = dict(move.columns)
    detail = {"batch_id": columns["batch_id"]} if columns.get("batch_id") is not None else {}
    detail |= {"generation": move.generation} if move.generation is not None else {}
    detail |= {"reason": reason} if reason is not None else {}
    detail |= move.detail
    for before in dict.fromkeys(member.state for member in move.edits):
        ids = [member.id for member in move.edits if member.state is before]
        require_allowed(ids[0], before, move.to)
        _write(connection, ids, before, move.to, {**columns, "reason": reason})
        tally(connection, before.value, -len(ids))
        tally(connection, move.to.value, len(ids))
        _remember(connection, ids, before, move.to, cause=cause, at=at, detail=detail)
    if move.to in OUTCOMES:
        _tell(connection, move, reason, at)


def admit(connection: Connection, ids: Sequence[EditId], *, cause: str, at: datetime) -> None:
    """Write the first history entry of edits that were just inserted as `pending`."""
    if ids:
        require_allowed(ids[0], None, EditState.PENDING)
        tally(connection, EditState.PENDING.value, len(ids))
        _remember(connection, ids, None, EditState.PENDING, cause=cause, at=at, detail={})


def tally(connection: Connection, name: str, by: int) -> None:
    """Move one of the ledger's running counts: an edit's state, or `ROLLBACKS`."""
    moved = update(tallies).where(tallies.c.name == name).values(value=tallies.c.value + by)
    connection.execute(moved)


def _remember(
    connection: Connection,
    ids: Sequence[EditId],
    before: EditState | None,
    to: EditState,
    *,
    cause: str,
    at: datetime,
    detail: Mapping[str, Any],
) -> None:
    entry = {
        "at": at,
        "from_state": before.value if before is not None else None,
        "to_state": to.value,
        "cause": clip(cause, CAUSE_CHARS),
        "detail": detail,
    }
    same = [literal(value, history.c[name].type) for name, value in entry.items()]
    _insert_for_each(connection, history, ["edit_id", *entry], [edits.c.id, *same], ids)


def _write(
    connection: Connection,
    ids: Sequence[EditId],
    before: EditState,
    to: EditState,
    columns: Mapping[str, Any],
) -> None:
    # Not the bare column: SQLite would read its index of states, which has every waiting edit, for each batch.
    stands = func.coalesce(edits.c.state, "") == before.value
    for part in chunks(ids):
        moved = connection.execute(
            update(edits).where(edits.c.id.in_(part), stands).values(state=to.value, **columns)
        ).rowcount
        if moved != len(part):
            raise ForbiddenMove(f"{len(part) - moved} of {len(part)} edits are no longer {before.value}")


def _tell(connection: Connection, move: Move, reason: str | None, at: datetime) -> None:
    payload = {
        "event_id": edits.c.event_id,
        "edit_id": cast(edits.c.id, String),
        "state": literal(move.to.value),
        "generation": literal(move.generation, BigInteger),
        "subject": edits.c.subject,
        "relation": edits.c.relation,
        "reason": literal(reason, String),
        "at": literal(at.isoformat()),
    }
    values = [edits.c.subject, json_object(payload), literal(at, Moment)]
    ids = [member.id for member in move.edits]
    _insert_for_each(connection, outbox, ["key", "payload", "created_at"], values, ids)


def _insert_for_each(
    connection: Connection,
    table: Table,
    names: Sequence[str],
    values: Sequence[ColumnElement[Any]],
    ids: Iterable[EditId],
) -> None:
    """One row for each of the edits, made in the database: a rollback moves very many."""
    for part in chunks(ids):
        rows = select(*values).where(edits.c.id.in_(part)).order_by(edits.c.id)
        connection.execute(insert(table).from_select(names, rows))
