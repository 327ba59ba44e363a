"""PostgreSQL under the ledger: its address, and time-outs on both ends; a server that hangs is as one that is away."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from daemon.ledger.errors import LedgerUnreadable

CONNECT_SECONDS = 10
IDLE_SECONDS = 60  # a frozen machine must not hold the head's lock for ever
SPARE_SECONDS = 5
# A peer that vanished without a word; libpq's own default is two hours.
_TCP = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transaction waits for another one's lock, and one statement for its answer."""

    busy_seconds: float
    answer_seconds: float

    @property
    def here(self) -> float:
        """Seconds that we wait ourselves: longer than the server is told to work, so that it can say what is wrong."""
        return self.answer_seconds + min(SPARE_SECONDS, self.answer_seconds)


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server which accepts but does not answer: TCP's own time-outs never see that."""

    patience: float = 0.0

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """As psycopg's own, for at most `patience` seconds.

        Raises:
            psycopg.OperationalError: the time is over; the connection is closed.
        """
        bounded = gen if not self.patience else self._bounded(gen, time.monotonic() + self.patience)
        return super().wait(bounded, *arguments, **options)

    def _bounded(self, gen: Generator[Any, Any, Any], deadline: float) -> Generator[Any, Any, Any]:
        ready = None
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as end:
                return end.value
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                gen.close()
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {self.patience:g} seconds")


def postgres_engine(address: URL, patience: Patience) -> Engine:
    """An engine whose statements end in time, whatever the server or a pooler in between does.

    Raises:
        LedgerUnreadable: the URL has options that PostgreSQL does not know.
    """
    conninfo = _conninfo(address, connect_seconds=min(CONNECT_SECONDS, patience.answer_seconds))

    def connect() -> psycopg.Connection[Any]:
        # Nothing is prepared: a plan made while the tables were small would be kept when they are large.
        connection = BoundedConnection.connect(conninfo, prepare_threshold=None)
        connection.patience = patience.here
        return connection

    engine = create_engine(
        URL.create("postgresql+psycopg"),
        creator=connect,
        pool_pre_ping=True,
        pool_timeout=patience.answer_seconds,
    )
    event.listen(engine, "begin", lambda connection: set_limits(connection, patience))
    return engine


def set_limits(connection: Connection, patience: Patience) -> None:
    """Bound this transaction at the server. Not the session: behind a pooler, somebody else has it next."""
    _driver(connection).patience = patience.here
    limits = {
        "lock_timeout": patience.busy_seconds,
        "statement_timeout": patience.answer_seconds,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    calls = (f"set_config('{name}', '{round(1000 * seconds)}', true)" for name, seconds in limits.items())
    connection.exec_driver_sql("SELECT " + ", ".join(calls))


def lift_limits(connection: Connection) -> None:
    """Let this transaction take as long as it needs: a migration reads every row."""
    connection.exec_driver_sql("SELECT set_config('statement_timeout', '0', true)")
    _driver(connection).patience = 0.0


def _driver(connection: Connection) -> BoundedConnection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, BoundedConnection)  # noqa: S101 - `postgres_engine` makes no other
    return driver


def _conninfo(address: URL, *, connect_seconds: float) -> str:
    """libpq's own form of the address, with our time-outs where it names none.

    Raises:
        LedgerUnreadable: it has options that libpq does not know; the message names them, not their values.
    """
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    if unknown := sorted(set(address.query) - known):
        raise LedgerUnreadable(f"ledger.url has options that PostgreSQL does not know: {', '.join(unknown)}")
    url = address.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise LedgerUnreadable("ledger.url cannot be read: use postgresql://USER@HOST/DATABASE") from None
    ours: dict[str, Any] = {
        "connect_timeout": max(2, round(connect_seconds)),
        "application_name": "upkeep",
        **_TCP,
    }
    return make_conninfo("", **(ours | given))
