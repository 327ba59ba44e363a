"""The scheduler's memory: which job ran in which slot, so that two schedulers never run one slot twice."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import job_starts, job_successes, jobs
from daemon.ledger.store.schema.columns import REASON_CHARS

# By so much the clocks of two machines may differ; what lies further ahead was written under a wrong clock.
MAX_SKEW = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class SlotHistory:
    """What is known of one slot of a job.

    Attributes:
        succeeded: a run in this slot ended well.
        last_success: when the job last ended well, in whatever slot; it may lie ahead if the clock was wrong.
        kept_since: when a scheduler first kept the job.
    """

    succeeded: bool
    last_success: datetime | None
    kept_since: datetime


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

    def forget_ahead(self) -> int:
        """Drop runs dated ahead of now: a wrong clock began them, and their slots are yet to come; how many."""
        with self._database.write() as connection:
            return drop_ahead(connection, self._clock())

    def slot_history(self, name: str, slot: str) -> SlotHistory:
        """What is known of a slot, whose runs are the ones whose names begin with `slot`; notes that the job is kept."""
        at = self._clock()
        ended_well = select(jobs.c.slot).where(
            jobs.c.name == name,
            jobs.c.slot.startswith(slot, autoescape=True),
            jobs.c.ok.is_(True),
        )
        with self._database.read() as connection:
            succeeded = connection.execute(ended_well.limit(1)).one_or_none() is not None
            last = select(job_successes.c.at).where(job_successes.c.name == name)
            last_success = connection.execute(last).scalar_one_or_none()
            first = select(job_starts.c.at).where(job_starts.c.name == name)
            kept_since = connection.execute(first).scalar_one_or_none()
        if kept_since is None:
            kept_since = self._keep_from(name, at)
        return SlotHistory(succeeded, last_success, kept_since)

    def _keep_from(self, name: str, at: datetime) -> datetime:
        with suppress(IntegrityError), self._database.write() as connection:  # another scheduler was faster
            connection.execute(insert(job_starts).values(name=name, at=at))
        return at

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


def drop_ahead(connection: Connection, at: datetime) -> int:
    """See `Jobs.forget_ahead`."""
    return connection.execute(delete(jobs).where(jobs.c.started_at > at + MAX_SKEW)).rowcount
