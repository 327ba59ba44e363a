"""Why no batch may be claimed: every reason stands by itself until somebody releases it."""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from daemon.ledger.page_values import MAX_LISTED
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import head, holds
from daemon.ledger.store.schema.columns import REASON_CHARS, WORKER_CHARS
from daemon.ledger.store.schema.conditions import IS_HELD
from daemon.ledger.values import Act, Hold


def open_holds(connection: Connection, hold_id: int | None = None) -> list[Hold]:
    """What holds the batches, the oldest first; at most `MAX_LISTED`, or the one of this number."""
    query = select(holds).where(IS_HELD).order_by(holds.c.id).limit(MAX_LISTED)
    if hold_id is not None:
        query = query.where(holds.c.id == hold_id)
    return [Hold(row.id, row.at, row.actor, row.reason) for row in connection.execute(query)]


def add_hold(connection: Connection, act: Act, at: datetime) -> int | None:
    """Hold the batches; None: the same person holds them for the same reason already. The caller holds the head's lock."""
    actor, reason = clip(act.actor, WORKER_CHARS), clip(act.reason, REASON_CHARS)
    same = select(holds.c.id).where(IS_HELD, holds.c.actor == actor, holds.c.reason == reason)
    if connection.execute(same.limit(1)).one_or_none() is not None:
        return None
    added = insert(holds).values(at=at, actor=actor, reason=reason).returning(holds.c.id)
    number = int(connection.execute(added).scalar_one())
    _tell_head(connection)
    return number


def end_holds(connection: Connection, actor: str, at: datetime, hold_id: int | None = None) -> list[Hold]:
    """Release one hold, or all of them; those that were. The caller holds the head's lock."""
    ended = open_holds(connection, hold_id)
    closed = update(holds).where(IS_HELD).values(released_at=at, released_by=clip(actor, WORKER_CHARS))
    if hold_id is not None:
        closed = closed.where(holds.c.id == hold_id)
    connection.execute(closed)
    _tell_head(connection)
    return ended


def _tell_head(connection: Connection) -> None:
    """Whoever claims a batch reads the head alone."""
    first = select(holds.c.reason).where(IS_HELD).order_by(holds.c.id).limit(1).scalar_subquery()
    connection.execute(update(head).values(hold_reason=first))
