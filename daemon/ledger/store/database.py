"""One database under the ledger, SQLite or PostgreSQL: connections, transactions, the border for errors.

Writers take turns. SQLite has one writer anyway (BEGIN IMMEDIATE); on PostgreSQL whoever moves an edit first
locks the only row of `head`, so both databases see the same order of events and nothing can deadlock.
Transactions are short: nobody trains, talks to Kafka or waits inside one.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from daemon.ledger.errors import LedgerUnavailable, LedgerUnreadable, NotInLedger
from daemon.ledger.store.schema import head
from edits.extras import extra

BUSY_SECONDS = 30  # for another writer
ANSWER_SECONDS = 60  # for one statement, waiting for a lock included

_SQLITE_TEMPORARY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}
_SQLITE_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# Of SQLite's driver; PostgreSQL's options are libpq's.
_SQLITE_OPTIONS = {
    "cached_statements",
    "check_same_thread",
    "detect_types",
    "isolation_level",
    "timeout",
    "uri",
}
# Connection, conflict of transactions, resources (disk, memory), operator intervention, system; then: locked,
# a standby that was promoted away, and a transaction that idled too long.
_POSTGRES_TEMPORARY_CLASSES = {"08", "40", "53", "57", "58"}
_POSTGRES_TEMPORARY = {"55P03", "25006", "25P03"}
_NO_TABLE = "42P01"
_NO_RIGHT = "42501"  # such as to CREATE in the schema public, which PostgreSQL 15 gives to nobody


@dataclass(frozen=True, slots=True)
class GenerationHead:
    """The one row that all writers lock: the published generation, and why batches are held, if they are."""

    generation: int | None
    hold_reason: str | None


class Database:
    """Short transactions on one engine; safe to share between threads, not between forked processes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        if self.is_sqlite:
            self._reader = engine
            self._writer = engine.execution_options(upkeep_writes=True)
        else:
            # One snapshot per reading; writers see what was committed before they got their lock.
            self._reader = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            self._writer = engine.execution_options(isolation_level="READ COMMITTED")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot.

        Raises:
            LedgerUnavailable: the database cannot be read for now.
        """
        with translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of it is kept, or on any error nothing.

        Raises:
            LedgerUnavailable: the database is locked, full or gone; nothing was kept.
        """
        with translated(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def lock_head(connection: Connection) -> GenerationHead:
    """Become the only one who moves edits until this transaction ends."""
    row = connection.execute(select(head.c.generation, head.c.hold_reason).with_for_update()).one()
    return GenerationHead(row.generation, row.hold_reason)


def connect(
    url: str, *, busy_seconds: float = BUSY_SECONDS, answer_seconds: float = ANSWER_SECONDS
) -> Database:
    """Name the database; nothing is opened yet, but a missing folder of a SQLite file is made.

    Args:
        busy_seconds: how long a writer waits for another one.
        answer_seconds: how long a statement may take; a SQLite file answers or fails by itself.

    Raises:
        LedgerUnreadable: the URL names no database that Upkeep can use.
        LedgerUnavailable: the folder cannot be made.
    """
    address = _address(url)
    if address.get_backend_name() == "sqlite":
        return Database(_sqlite(address, busy_seconds))
    with extra("postgres", purpose="a ledger on PostgreSQL", error=LedgerUnreadable):
        from daemon.ledger.store.postgres import Patience, postgres_engine

        patience = Patience(min(busy_seconds, answer_seconds), answer_seconds)
        return Database(postgres_engine(address, patience))


def _address(url: str) -> URL:
    try:
        address = make_url(url)
        backend = address.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise LedgerUnreadable(
            "ledger.url is not a database URL: use sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    if backend in ("postgresql", "postgres"):
        return address.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise LedgerUnreadable(f"ledger.url names the database {backend!r}: use sqlite or postgresql")
    if address.database in (None, "", ":memory:"):
        raise LedgerUnreadable("ledger.url names no file: a ledger that outlives nothing keeps nothing")
    if unknown := sorted(set(address.query) - _SQLITE_OPTIONS):
        raise LedgerUnreadable(f"ledger.url has options that SQLite does not know: {', '.join(unknown)}")
    return address


def _sqlite(address: URL, busy_seconds: float) -> Engine:
    try:
        Path(str(address.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerUnavailable(f"the ledger's folder cannot be made: {error}") from error
    engine = create_engine(address, connect_args={"timeout": busy_seconds})
    event.listen(engine, "connect", partial(_prepare_sqlite, busy_seconds))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(busy_seconds: float, connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            # FULL: what is committed survives a power cut, as Kafka's offsets are committed after it.
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself while another process turns the new file to WAL.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """A writer locks at once: a reader that turned writer could find its snapshot outdated and fail."""
    writes = connection.get_execution_options().get("upkeep_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """The one border where a driver's error becomes the ledger's; what is no known trouble passes as it is.

    Messages are the driver's own: SQLAlchemy's would quote the statement with the events' texts.
    """
    try:
        yield
    except PoolTimeout as error:
        raise LedgerUnavailable("the ledger has no free connection") from error
    except OverflowError as error:
        if "SQLite" not in str(error):  # of its driver; PostgreSQL compares any number
            raise
        raise NotInLedger("the ledger has nothing under so large a number") from error
    except DBAPIError as error:
        if _is_damage(error.orig):
            raise LedgerUnreadable(f"the ledger cannot be read: {error.orig}") from error
        if error.connection_invalidated or _is_temporary(error):
            raise LedgerUnavailable(f"the ledger is not available: {error.orig}") from error
        if _is_without_tables(error.orig):
            raise LedgerUnavailable(
                "the ledger's tables are gone: its file or database was taken away or replaced while Upkeep ran; "
                "put it back, or start Upkeep again to begin a new ledger"
            ) from error
        if getattr(error.orig, "sqlstate", None) == _NO_RIGHT:
            raise LedgerUnreadable(
                f"the ledger's user lacks a right: {error.orig}; for the first start: "
                "GRANT CREATE ON SCHEMA public TO its user, or give it a database of its own"
            ) from error
        raise


def _is_damage(cause: object) -> bool:
    return isinstance(cause, sqlite3.Error) and _sqlite_code(cause) in _SQLITE_DAMAGED


def _is_without_tables(cause: object) -> bool:
    if isinstance(cause, sqlite3.Error):
        return str(cause).startswith("no such table")  # SQLite has no code of its own for it
    return getattr(cause, "sqlstate", None) == _NO_TABLE


def _is_temporary(error: DBAPIError) -> bool:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _sqlite_code(cause) in _SQLITE_TEMPORARY
    state = getattr(cause, "sqlstate", None)
    if state is None:  # the server was never reached, or has not answered
        return isinstance(error, OperationalError)
    return state[:2] in _POSTGRES_TEMPORARY_CLASSES or state in _POSTGRES_TEMPORARY


def _sqlite_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte: without the extension
