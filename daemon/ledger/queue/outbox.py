"""Edit outcomes on their way to Kafka: written with the move itself, sent until somebody confirms."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import select, update

from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import chunks
from daemon.ledger.store.schema import UNSENT, outbox
from daemon.ledger.values import OutboxRow


class Outbox:
    """At least once: a relay that dies between sending and `mark_sent` sends those rows again."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def unsent(self, limit: int) -> list[OutboxRow]:
        """The oldest outcomes that nobody confirmed yet, at most `limit`."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(outbox.c.id, outbox.c.key, outbox.c.payload)
                .where(UNSENT)
                .order_by(outbox.c.id)
                .limit(limit)
            )
            return [OutboxRow(row.id, row.key, row.payload) for row in rows]

    def mark_sent(self, ids: Sequence[int]) -> None:
        """These outcomes are in Kafka."""
        if not ids:
            return
        with self._database.write() as connection:
            at = self._clock()
            for part in chunks(sorted(ids)):
                connection.execute(update(outbox).where(outbox.c.id.in_(part), UNSENT).values(sent_at=at))
