"""The scheduler's memory: which job ran in which slot, so that two schedulers never run one slot twice."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import REASON_CHARS, job_successes, jobs


class Jobs:
    """A slot is a text that all schedulers derive alike, such as the planned time in UTC."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def try_start(self, name: str, slot: str) -> bool:
        """Whether the caller may run this job in this slot: True for one caller, False for all others."""
        try:
            with self._database.write() as connection:
                connection.execute(insert(jobs).values(name=name, slot=slot, started_at=self._clock()))
        except IntegrityError:
            return False
        return True

    def finished(self, name: str, slot: str, ok: bool, detail: str = "") -> None:
        """The job that `try_start` let run has ended."""
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            connection.execute(
                update(jobs)
                .where(jobs.c.name == name, jobs.c.slot == slot)
                .values(finished_at=at, ok=ok, detail=clip(detail, REASON_CHARS))
            )
            if not ok:
                return
            known = update(job_successes).where(job_successes.c.name == name).values(at=at)
            if connection.execute(known).rowcount == 0:
                connection.execute(insert(job_successes).values(name=name, at=at))

    def last_success(self) -> dict[str, datetime]:
        """When each job last ended well; a job that never did is not in it."""
        with self._database.read() as connection:
            return {row.name: row.at for row in connection.execute(select(job_successes))}
