"""Work that one process at a time does: whoever takes its turn has it for a while, and may take it again in time."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, or_, select, update

from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import turns
from daemon.ledger.store.schema.columns import WORKER_CHARS

# Nobody takes a longer one: what lies further ahead was written under a wrong clock.
MAX_TURN = timedelta(hours=1)


def take_turn(connection: Connection, name: str, holder: str, *, at: datetime, seconds: float) -> bool:
    """Whether it is this holder's turn; then it is for so many seconds from now."""
    holder = clip(holder, WORKER_CHARS)
    until = at + timedelta(seconds=seconds)
    # Waits for whoever is taking it at this moment.
    known = select(turns).where(turns.c.name == name).with_for_update()
    if connection.execute(known).one_or_none() is None:
        connection.execute(insert(turns).values(name=name, holder=holder, free_at=until))
        return True
    may_take = or_(turns.c.holder == holder, turns.c.free_at <= at, turns.c.free_at > at + MAX_TURN)
    taken = update(turns).where(turns.c.name == name, or_(turns.c.holder.is_(None), may_take))
    return connection.execute(taken.values(holder=holder, free_at=until)).rowcount == 1


def give_turn_up(connection: Connection, name: str, holder: str) -> None:
    """End this holder's turn early; somebody else's stays."""
    own = (turns.c.name == name, turns.c.holder == clip(holder, WORKER_CHARS))
    connection.execute(update(turns).where(*own).values(holder=None))
