"""Edit outcomes on their way to Kafka: written with the move itself, sent until somebody confirms."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update

from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import chunks
from daemon.ledger.store.schema import outbox
from daemon.ledger.store.schema.conditions import UNSENT
from daemon.ledger.store.turns import give_turn_up, take_turn
from daemon.ledger.values import OutboxRow

_TURN = "outbox"


class Outbox:
    """At least once: a relay that dies between sending and `mark_sent` sends those rows again.

    Relays take turns, so that rows are sent once and in order: two at a time would repeat rows, and an older one could
    come after a newer one of its key.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def claim(self, relay: str, limit: int, *, seconds: float) -> list[OutboxRow]:
        """The oldest outcomes that nobody confirmed yet, at most `limit`, if it is this relay's turn; else none.

        Nobody else has a turn for so many seconds from now, or until `yield_turn`.
        """
        if not self.unsent(1):
            return []
        with self._database.write() as connection:
            if not take_turn(connection, _TURN, relay, at=self._clock(), seconds=seconds):
                return []
            return _unsent(connection, limit)

    def yield_turn(self, relay: str) -> None:
        """Let another relay go on at once."""
        with self._database.write() as connection:
            give_turn_up(connection, _TURN, relay)

    def unsent(self, limit: int) -> list[OutboxRow]:
        """The oldest outcomes that nobody confirmed yet, at most `limit`; whoever sends them claims them."""
        with self._database.read() as connection:
            return _unsent(connection, limit)

    def mark_sent(self, ids: Sequence[int]) -> None:
        """These outcomes are in Kafka."""
        if not ids:
            return
        with self._database.write() as connection:
            at = self._clock()
            for part in chunks(sorted(ids)):
                connection.execute(update(outbox).where(outbox.c.id.in_(part), UNSENT).values(sent_at=at))


def _unsent(connection: Connection, limit: int) -> list[OutboxRow]:
    rows = connection.execute(
        select(outbox.c.id, outbox.c.key, outbox.c.payload).where(UNSENT).order_by(outbox.c.id).limit(limit)
    )
    return [OutboxRow(row.id, row.key, row.payload) for row in rows]
