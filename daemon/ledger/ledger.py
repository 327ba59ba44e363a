"""The ledger's front door: one object with a part for each concern."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from daemon.ledger.history.audit import Audit
from daemon.ledger.history.batch_lists import BatchLists
from daemon.ledger.history.fact_page import FactPages
from daemon.ledger.history.search import Search
from daemon.ledger.history.timeline import Timeline
from daemon.ledger.publication.generations import Generations
from daemon.ledger.publication.reversals import Reversals
from daemon.ledger.queue.batches import Batches
from daemon.ledger.queue.control import Control
from daemon.ledger.queue.embeddings import Embeddings
from daemon.ledger.queue.intake import Intake
from daemon.ledger.queue.jobs import Jobs
from daemon.ledger.queue.outbox import Outbox
from daemon.ledger.queue.plans import Plans
from daemon.ledger.queue.proposals import Proposals
from daemon.ledger.records.audit_log import AuditLog
from daemon.ledger.records.base_answers import BaseAnswers
from daemon.ledger.records.checks import Checks
from daemon.ledger.records.samples import Samples
from daemon.ledger.store.database import ANSWER_SECONDS, BUSY_SECONDS, Database, connect
from daemon.ledger.store.migrate import migrate


class Ledger:
    """What happened to every event and every edit; each method is one transaction, kept wholly or not at all.

    Safe to share between threads; every process opens its own. Any method may raise `LedgerUnavailable`:
    nothing was kept, the same call may be made again.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self.intake = Intake(database, clock)
        self.plans = Plans(database, clock)
        self.proposals = Proposals(database, clock)
        self.batches = Batches(database, clock)
        self.batch_lists = BatchLists(database, clock)
        self.generations = Generations(database, clock)
        self.audit = Audit(database)
        self.timeline = Timeline(database)
        self.fact_pages = FactPages(database)
        self.search = Search(database)
        self.reversals = Reversals(database, clock)
        self.audit_log = AuditLog(database, clock)
        self.outbox = Outbox(database, clock)
        self.jobs = Jobs(database, clock)
        self.checks = Checks(database, clock)
        self.base_answers = BaseAnswers(database)
        self.samples = Samples(database)
        self.embeddings = Embeddings(database, clock)
        self.control = Control(database, clock)

    def migrate(self) -> None:
        """Bring the tables up to this release; several processes may do so at once.

        Raises:
            LedgerTooNew: a later release was here.
            LedgerUnreadable: the file is no ledger.
        """
        migrate(self._database)

    def close(self) -> None:
        """Close the connections; the ledger opens new ones if it is used again."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def utc_now() -> datetime:
    """The time, aware and in UTC."""
    return datetime.now(UTC)


def open_ledger(
    url: str,
    *,
    clock: Callable[[], datetime] = utc_now,
    busy_seconds: float = BUSY_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
) -> Ledger:
    """The ledger at a database URL: `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`.

    Nothing is read yet; call `migrate` once before anything else.

    Args:
        answer_seconds: after how long a database that does not answer counts as away.

    Raises:
        LedgerUnreadable: the URL names no database that Upkeep can use.
        LedgerUnavailable: the folder of the SQLite file cannot be made.
    """
    return Ledger(connect(url, busy_seconds=busy_seconds, answer_seconds=answer_seconds), clock)
