"""Which events of a file stand there, or in the ledger, a second time: kept on disk, however many they are."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from daemon.events.fact_event import FactEvent
from daemon.ledger.queue.intake import content_digest

Known = Callable[
    [Sequence[str]], Mapping[str, str]
]  # of event ids, those that are known, with their contents' digests

CHUNK = 500


class SeenEvents:
    """A temporary database of line numbers, event ids and digests; gone when it is closed."""

    def __init__(self, known: Known | None) -> None:
        self._known = known
        self._rows: list[tuple[int, str, str]] = []
        self._database = sqlite3.connect("", isolation_level=None)  # a file of its own once it grows
        self._database.execute("CREATE TABLE seen (event_id TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID")
        self._database.execute("CREATE TABLE left_out (line INTEGER PRIMARY KEY, event_id TEXT, place TEXT)")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, line: int, event: FactEvent) -> None:
        """The event of one line, in the order of the file."""
        self._rows.append((line, event.event_id, content_digest(event.model_dump(mode="json"))))
        if len(self._rows) >= CHUNK:
            self._judge()

    def duplicates(self) -> int:
        """How many lines only say again what was said before."""
        self._judge()
        query = "SELECT count(*) FROM left_out WHERE place IS NULL"
        return int(self._database.execute(query).fetchone()[0])

    def reused(self) -> Iterator[tuple[int, str, str]]:
        """Lines whose event id has other content before: the line, the id, and where."""
        self._judge()
        query = "SELECT line, event_id, place FROM left_out WHERE place IS NOT NULL ORDER BY line"
        yield from self._database.execute(query)

    def leaves_out(self, line: int) -> bool:
        """Whether a line is not to be sent: a duplicate, or one of the `reused`."""
        query = "SELECT 1 FROM left_out WHERE line = ?"
        return self._database.execute(query, (line,)).fetchone() is not None

    def _judge(self) -> None:
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        known = self._known([event_id for _, event_id, _ in rows]) if self._known is not None else {}
        self._database.execute("BEGIN")
        for line, event_id, digest in rows:
            before, place = known.get(event_id), "in the ledger"
            if before is None:
                found = self._database.execute(
                    "SELECT digest FROM seen WHERE event_id = ?", (event_id,)
                ).fetchone()
                before, place = (found[0] if found else None), "on an earlier line"
            if before is None:
                self._database.execute("INSERT INTO seen VALUES (?, ?)", (event_id, digest))
            else:
                where = None if before == digest else place
                self._database.execute("INSERT INTO left_out VALUES (?, ?, ?)", (line, event_id, where))
        self._database.execute("COMMIT")
