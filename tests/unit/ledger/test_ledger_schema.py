"""The database under the ledger: migrations, indexes, and clear words when it is unwell."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text
from support.ledger.ledger_backends import BEFORE_0006, BEFORE_0009, Clock, Story, database_of, event, record

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import LedgerTooNew, LedgerUnavailable, LedgerUnreadable
from daemon.ledger.store.schema import metadata
from daemon.ledger.values import Act, CheckKind, CheckResult, EditState

POSTGRES_CATALOGUE = """
SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
       || coalesce(character_maximum_length::text, '') || ' ' || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
  AND conrelid::regclass::text <> 'alembic_version'
"""


def catalogue(ledger: Ledger) -> set[str]:
    """Everything that the database says about the ledger's tables, as comparable lines."""
    with database_of(ledger).read() as connection:
        if connection.dialect.name == "postgresql":
            return set(connection.scalars(text(POSTGRES_CATALOGUE)))
        query = "SELECT sql FROM sqlite_master WHERE tbl_name <> 'alembic_version' AND sql IS NOT NULL"
        found: set[str] = set()
        for statement in connection.scalars(text(query)):
            # Constraints may stand in any order; SQLite writes an added column behind the last one, on its line.
            head, *lines = re.split(
                r",?\s*\n\s*|,\s+(?=(?:kind|failed_result_id|origin|actor|reason) )", statement.strip()
            )
            found.update(f"{head} {line}" for line in lines or [""])
        return found


def test_the_migrations_make_the_schema_that_the_code_uses(ledger: Ledger) -> None:
    migrated = catalogue(ledger)
    with database_of(ledger).write() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)

    assert len(migrated) > 100
    assert migrated == catalogue(ledger)


def test_a_ledger_that_is_up_to_date_is_left_as_it_is(story: Story) -> None:
    story.go_live(event("a"))
    story.ledger.migrate()

    assert story.ledger.audit.counts()[EditState.LIVE] == 1


def test_the_newest_failed_check_of_an_earlier_release_is_known(ledger: Ledger, clock: Clock) -> None:
    for number, passed in enumerate((False, False, True)):
        ledger.checks.request(None, "night")
        claimed = ledger.checks.claim("w", lease_seconds=60)
        assert claimed is not None
        found = [CheckResult("far", number, clock(), passed, {"locality": 0.5}, 10, "base")]
        found.append(CheckResult("news", number, clock(), True, {"locality": 1.0}, 10, "base"))
        ledger.checks.finish(claimed.id, claimed.token, found)
    with database_of(ledger).write() as connection:
        for statement in (*BEFORE_0009, "UPDATE alembic_version SET version_num = '0008'"):
            connection.execute(text(statement))

    ledger.migrate()
    assert [(result.suite, result.generation) for result in ledger.checks.latest_failed()] == [("far", 1)]


def test_checks_that_an_earlier_release_asked_for_are_still_of_their_kind(ledger: Ledger) -> None:
    kinds = (CheckKind.SAMPLE, CheckKind.FULL, CheckKind.BLAME)  # those that it knew
    asked = {kind: ledger.checks.request(None, "night", kind=kind) for kind in kinds}
    named = ledger.checks.request("far", "by hand", kind=CheckKind.FULL)
    with database_of(ledger).write() as connection:  # as revision 0004 kept them
        for statement in (
            *BEFORE_0006,
            "DROP INDEX uq_checks_open",
            "UPDATE checks SET suite = '*' || kind || ' ' || suite WHERE kind <> 'sample'",
            "ALTER TABLE checks DROP COLUMN kind",
            "CREATE UNIQUE INDEX uq_checks_open ON checks (suite) WHERE state IN ('waiting', 'leased')",
            "UPDATE alembic_version SET version_num = '0004'",
        ):
            connection.execute(text(statement))

    ledger.migrate()
    for kind in (CheckKind.BLAME, CheckKind.SAMPLE, CheckKind.FULL):
        claimed = ledger.checks.claim("w", lease_seconds=60, kinds=[kind])
        assert claimed is not None
        assert (claimed.id, claimed.suite, claimed.kind) == (asked[kind], None, kind)
    last = ledger.checks.claim("w", lease_seconds=60)
    assert last is not None
    assert (last.id, last.suite, last.kind) == (named, "far", CheckKind.FULL)


def test_a_ledger_of_a_later_release_is_refused_and_left_alone(ledger: Ledger) -> None:
    with database_of(ledger).write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = catalogue(ledger)

    with pytest.raises(LedgerTooNew, match=r"revision 9999.* knows up to 0011: install that release"):
        ledger.migrate()
    assert catalogue(ledger) == before


def test_the_database_itself_refuses_a_second_live_edit_of_a_fact(story: Story) -> None:
    story.go_live(event("a"))
    story.arrive(event("b"))
    with (
        pytest.raises(Exception, match=r"(?i)unique"),
        database_of(story.ledger).write() as connection,
    ):
        connection.execute(text("UPDATE edits SET state = 'live', shard = 'x' WHERE event_id = 'b'"))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_daily_question_reads_a_whole_table(story: Story) -> None:
    asked: dict[str, tuple[str, Any]] = {}

    @sqlalchemy_event.listens_for(database_of(story.ledger).engine, "before_cursor_execute")
    def remember(
        _conn: object, _cursor: object, statement: str, parameters: Any, _context: object, executemany: bool
    ) -> None:
        if not executemany and statement.startswith(("SELECT", "UPDATE")):
            asked.setdefault(re.sub(r"\?(, \?)+", "?", statement), (statement, parameters))

    ledger = story.ledger
    edits = story.arrive(event("a", day=1), event("b", "Other"), event("gone", "Other", op="retract", day=2))
    ledger.plans.rivals(edits)
    story.plan(edits)
    ledger.batches.heartbeat(story.claim().id, 1, lease_seconds=0)
    story.publish(story.claim())
    ledger.outbox.mark_sent([row.id for row in ledger.outbox.unsent(10)])
    ledger.intake.backlog()
    ledger.audit.counts()
    ledger.audit.facts(subject="Norland")
    ledger.audit.facts(state=EditState.LIVE)
    ledger.audit.history(edits[0].id)
    ledger.generations.live_edits()
    ledger.generations.since(0)
    ledger.generations.has_live(after=0, upto=1)
    ledger.generations.shards_at(1, ["1"])
    ledger.samples.live(5, seed=1, since=1)
    ledger.samples.older_values(edits)
    ledger.reversals.undo_fact(edits[0].id, Act("test", "x"), restore_previous=True)

    assert len(asked) > 20
    with database_of(ledger).read() as connection:
        for statement, parameters in list(asked.values()):
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
                whole = re.search(
                    r"SCAN (records|edits|edit_names|history|batches|outbox|generat\w+)$", row[3]
                )
                assert whole is None, f"{row[3]}: {statement}"


@pytest.mark.parametrize(
    ("address", "reported"),
    [
        ("mysql://user:secret@host/upkeep", "'mysql': use sqlite or postgresql"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("no url: secret", "not a database URL"),
    ],
)
def test_an_address_that_names_no_ledger_is_refused_without_telling_secrets(
    address: str, reported: str
) -> None:
    with pytest.raises(LedgerUnreadable, match=reported) as refusal:
        open_ledger(address)
    assert "secret" not in str(refusal.value)


def test_a_file_that_is_no_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, " * 100)
    with open_ledger(f"sqlite:///{path}") as ledger, pytest.raises(LedgerUnreadable, match="not a database"):
        ledger.migrate()
    assert path.read_text().startswith("these are my notes")


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match="folder cannot be made"):
        open_ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_full_disk_keeps_nothing_and_passes_by_itself(ledger: Ledger) -> None:
    facts = [record(event(f"e{n}", f"Land {n}"), n) for n in range(300)]
    _limit_pages(ledger, 1)  # SQLite takes the pages that are used already as the least

    with pytest.raises(LedgerUnavailable, match="full") as refusal:
        ledger.intake.record(facts)
    assert "Land" not in str(refusal.value), "the message must not quote the events"
    assert ledger.intake.backlog() == 0
    _limit_pages(ledger, 1_000_000)
    ledger.intake.record(facts)
    assert ledger.intake.backlog() == 300


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_locked_ledger_is_a_temporary_trouble(url: str) -> None:
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with open_ledger(url, busy_seconds=0.05) as ledger:
        with pytest.raises(LedgerUnavailable, match="locked"):
            ledger.control.hold("x")
        assert ledger.control.held() is None, "readers go on"
        other.execute("ROLLBACK")
        ledger.control.hold("x")
    other.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_lost_connection_is_a_temporary_trouble(ledger: Ledger, url: str) -> None:
    def break_off(connection: object) -> None:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    ledger.control.hold("before")
    engine = database_of(ledger).engine
    sqlalchemy_event.listen(engine, "commit", break_off)
    with pytest.raises(LedgerUnavailable):
        ledger.control.hold("after")
    sqlalchemy_event.remove(engine, "commit", break_off)

    assert ledger.control.held() == "before"
    break_off(None)  # between two transactions the pool just opens a new one
    assert ledger.control.held() == "before"


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_server_that_is_not_there_is_a_temporary_trouble(url: str) -> None:
    nowhere = re.sub(r":\d+/", ":1/", url)
    with open_ledger(nowhere) as ledger, pytest.raises(LedgerUnavailable, match="not available"):
        ledger.migrate()


def _limit_pages(ledger: Ledger, pages: int) -> None:
    with database_of(ledger).read() as connection:  # the pool hands out this one connection again
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
