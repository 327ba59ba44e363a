"""Take changes back: one edit, or everything since a generation; always by publishing a new generation."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection

from daemon.ledger.errors import ForbiddenMove, NotInLedger
from daemon.ledger.publication.manifests import append, child_of, live_set, load_generations
from daemon.ledger.store.database import lock_head
from daemon.ledger.store.rows import Standing, rivals_of, standings_by_id
from daemon.ledger.store.schema import edits, generations
from daemon.ledger.store.transitions import ROLLBACKS, Move, apply_moves, tally
from daemon.ledger.values import EditState, Generation
from edits.recency import newest_first
from edits.requests import EditId


def rollback_edit(
    connection: Connection, edit_id: EditId, *, cause: str, restore_previous: bool, at: datetime
) -> Generation:
    """See `Generations.rollback_edit`."""
    current = lock_head(connection).generation
    edit = standings_by_id(connection, [edit_id]).get(edit_id)
    if edit is None:
        raise NotInLedger(f"there is no edit {edit_id}")
    if edit.state is not EditState.LIVE or current is None:
        raise ForbiddenMove(f"edit {edit_id} is {edit.state.value}: only a live edit can be taken back")
    previous = _previous(connection, edit) if restore_previous else None
    return _republish(connection, current, off=[edit], on=[previous] if previous else [], cause=cause, at=at)


def rollback_to(connection: Connection, number: int, *, cause: str, at: datetime) -> Generation:
    """See `Generations.rollback_to`."""
    current = lock_head(connection).generation
    if current is None or not 0 <= number <= current:
        raise NotInLedger(f"there is no generation {number}")
    then, now = live_set(connection, number), live_set(connection, current)
    if then.keys() == now.keys():
        return load_generations(connection, generations.c.number == current)[0]
    found = standings_by_id(connection, then.keys() ^ now.keys())
    return _republish(
        connection,
        current,
        off=[edit for edit in found.values() if edit.id not in then],
        on=[edit for edit in found.values() if edit.id in then],
        cause=cause,
        at=at,
    )


def _previous(connection: Connection, edit: Standing) -> Standing | None:
    """What the fact's value was before `edit`, if that is known and nothing else stands in its way."""
    older = [rival for rival in rivals_of(connection, [edit]) if rival.recency < edit.recency]
    for rival in newest_first(older):
        if rival.op == "retract" and rival.state in (EditState.RETRACTED, EditState.SUPERSEDED):
            return None
        if rival.state is EditState.SUPERSEDED and rival.shard is not None:
            live = rivals_of(connection, [rival], edits.c.state == EditState.LIVE.value)
            return rival if {other.id for other in live} <= {edit.id} else None
    return None


def _republish(
    connection: Connection,
    current: int,
    *,
    off: Collection[Standing],
    on: Collection[Standing],
    cause: str,
    at: datetime,
) -> Generation:
    generation = child_of(
        connection,
        current,
        enabled={edit.id: edit.shard for edit in on if edit.shard is not None},
        disabled=[edit.id for edit in off],
        cause=cause,
        at=at,
    )
    number = generation.number
    apply_moves(connection, plan_moves(off, on, number, cause), cause=cause, at=at)
    append(connection, generation, expected_head=current)
    tally(connection, ROLLBACKS, 1)
    return generation


def plan_moves(off: Collection[Standing], on: Collection[Standing], number: int, cause: str) -> list[Move]:
    """Edits taken out of the live set, then those brought back into it, by generation `number`."""
    back = {"generation": number, "superseded_by": None}
    return [
        Move([*off], EditState.RETRACTED, f"rolled back: {cause}", number),
        Move([*on], EditState.LIVE, None, number, back),
    ]
