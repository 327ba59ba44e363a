"""PostgreSQL that hangs, gives no rights, or stands behind a pooler: one clear error each, and always in time."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from support.ledger.ledger_backends import OwnPostgres, database_of, own_postgres
from support.waiting import eventually

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import LedgerUnavailable, LedgerUnreadable

ANSWER_SECONDS = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    with own_postgres() as started:
        yield started


@contextmanager
def silent_server() -> Iterator[str]:
    """Connections are accepted, by the kernel, and never served."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"postgresql://upkeep@127.0.0.1:{listener.getsockname()[1]}/upkeep?connect_timeout=2"


def seconds_of(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        work()
    return time.monotonic() - begun


def test_a_connection_that_is_accepted_and_never_served_is_a_temporary_trouble() -> None:
    with silent_server() as url, open_ledger(url) as ledger:
        assert seconds_of(ledger.migrate) < 20


def test_a_frozen_server_is_given_up_on_in_the_middle_and_answers_again_later(server: OwnPostgres) -> None:
    with open_ledger(server.url, answer_seconds=ANSWER_SECONDS) as ledger:
        ledger.migrate()
        ledger.control.hold("before")
        with server.frozen():
            assert seconds_of(lambda: ledger.control.hold("after")) < 15
            assert seconds_of(ledger.control.held) < 15
        eventually(lambda: _held(ledger) == "before")


def test_a_statement_that_takes_too_long_ends_at_the_server_too(server: OwnPostgres) -> None:
    with open_ledger(server.url, answer_seconds=ANSWER_SECONDS) as ledger:
        ledger.migrate()
        with server_lock(server.url):
            assert seconds_of(lambda: ledger.control.hold("x")) < 5
        with database_of(ledger).read() as connection:
            running = connection.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() "
                "AND backend_type = 'client backend'"
            )
            assert running.scalar_one() == 0


def test_limits_end_with_their_transaction_and_do_not_leak_through_a_pooler(server: OwnPostgres) -> None:
    with open_ledger(server.url, answer_seconds=7) as ledger:
        database = database_of(ledger)
        shown = "SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout')"
        with database.write() as connection:
            assert connection.exec_driver_sql(shown).scalar_one() == "7s 7s"
        raw = database.engine.raw_connection()
        try:
            assert raw.driver_connection is not None
            assert raw.driver_connection.execute(shown).fetchone() == ("0 0",)
        finally:
            raw.close()


def test_a_user_who_may_not_create_is_told_what_to_grant(server: OwnPostgres) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE bare")
        admin.execute("CREATE ROLE guest LOGIN")
    url = server.url.replace("upkeep@", "guest@").replace("/postgres", "/bare")
    with open_ledger(url) as ledger, pytest.raises(LedgerUnreadable, match="GRANT CREATE ON SCHEMA public"):
        ledger.migrate()


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ("?sslmod=require&pasword=secret", "does not know: pasword, sslmod"),
        ("?connect_timeout=3&sslmode=disable", None),
    ],
)
def test_options_of_the_url_are_libpqs_and_unknown_ones_are_named(
    server: OwnPostgres, change: str, reported: str | None
) -> None:
    if reported is None:
        with open_ledger(server.url + change) as ledger:
            ledger.migrate()
        return
    with pytest.raises(LedgerUnreadable, match=reported) as refusal:
        open_ledger(server.url + change)
    assert "secret" not in str(refusal.value)


def test_postgres_is_another_name_of_postgresql(server: OwnPostgres) -> None:
    with open_ledger(server.url.replace("postgresql://", "postgres://")) as ledger:
        ledger.migrate()


@contextmanager
def server_lock(url: str) -> Iterator[None]:
    """Somebody else has the only row of `head`, and does not give it back."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with psycopg.connect(url) as other:
            other.execute("SELECT * FROM head FOR UPDATE")
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        yield
    finally:
        done.set()
        thread.join()


def _held(ledger: Ledger) -> str | None:
    try:
        return ledger.control.held()
    except LedgerUnavailable:
        return None
