"""Lists, searches, several holds and an audit log: what the people on call ask costs the same however large the ledger."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from daemon.ledger.store.schema.conditions import APPEND_ONLY
from daemon.ledger.store.words import words_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_WORD = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_PAGE = 1_000

_OLD_CAUSES = (
    (re.compile(r"the base as it is$"), "start"),
    (re.compile(r"rollback: |regression failed: "), "rollback"),
    (re.compile(r"blame of generation "), "blame"),
)


def upgrade() -> None:
    """Make tables and indexes, and fill them from what is there."""
    _make_tables()
    for name, table, columns in (
        ("ix_records_event_id", "records", ["event_id"]),
        ("ix_edits_relation", "edits", ["relation", "id"]),
        ("ix_generation_changes_edit", "generation_changes", ["edit_id", "generation"]),
        ("ix_check_results_generation", "check_results", ["generation", "suite", "id"]),
    ):
        op.create_index(name, table, columns)
    beaten = sa.text("superseded_by IS NOT NULL")
    op.create_index(
        "ix_edits_superseded_by", "edits", ["superseded_by"], sqlite_where=beaten, postgresql_where=beaten
    )
    connection = op.get_bind()
    _fill_origins(connection)
    _fill_words(connection)
    op.execute(
        "INSERT INTO holds (at, actor, reason) SELECT coalesce((SELECT max(created_at) FROM generations), 0), "
        "'unknown', hold_reason FROM head WHERE hold_reason IS NOT NULL"
    )
    for statement in APPEND_ONLY[connection.dialect.name]:
        op.execute(statement)


def _make_tables() -> None:
    op.create_table(
        "generation_origins",
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("batch_id", _ID),
        sa.Column("actor", sa.String(length=200)),
        sa.Column("switched_on", sa.Integer, nullable=False),
        sa.Column("switched_off", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["generation"], ["generations.number"], name=op.f("fk_generation_origins_generation")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_generation_origins_batch_id")),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_generation_origins")),
    )
    op.create_table(
        "edit_words",
        sa.Column("word", _WORD, nullable=False),
        sa.Column("edit_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"], name=op.f("fk_edit_words_edit_id")),
        sa.PrimaryKeyConstraint("word", "edit_id", name=op.f("pk_edit_words")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "holds",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("released_by", sa.String(length=200)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    is_open = sa.text("released_at IS NULL")
    op.create_index("ix_holds_open", "holds", ["id"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_table(
        "audit_log",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("target", sa.JSON, nullable=False),
        sa.Column("changed", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )


def _fill_origins(connection: sa.Connection) -> None:
    """What each generation changed, counted once; who did it was not kept before."""
    counted = {
        int(row.generation): (int(row.switched_on), int(row.changes) - int(row.switched_on))
        for row in connection.execute(
            sa.text(
                "SELECT generation, count(shard) AS switched_on, count(*) AS changes "
                "FROM generation_changes GROUP BY generation"
            )
        )
    }
    known = set(connection.execute(sa.text("SELECT id FROM batches")).scalars())
    rows = [
        _origin(int(row.number), row.cause, *counted.get(int(row.number), (0, 0)), known)
        for row in connection.execute(sa.text("SELECT number, cause FROM generations ORDER BY number"))
    ]
    _insert(
        connection,
        "INSERT INTO generation_origins (generation, kind, batch_id, switched_on, switched_off) "
        "VALUES (:generation, :kind, :batch_id, :switched_on, :switched_off)",
        rows,
    )


def _origin(number: int, cause: str, on: int, off: int, batches: set[int]) -> dict[str, Any]:
    kind = next((kind for pattern, kind in _OLD_CAUSES if pattern.match(cause)), "batch")
    # One fact that went off by hand was most likely taken back for good.
    if kind == "rollback" and cause.startswith("rollback: ") and off == 1 and on <= 1:
        kind = "undo_fact"
    named = re.match(r"batch (\d+) ", cause)
    batch = int(named[1]) if named and int(named[1]) in batches else None
    return {
        "generation": number,
        "kind": kind,
        "batch_id": batch,
        "switched_on": on,
        "switched_off": off,
    }


def _fill_words(connection: sa.Connection) -> None:
    for page in _pages(connection):
        _insert(
            connection,
            "INSERT INTO edit_words (word, edit_id) VALUES (:word, :edit_id)",
            [
                {"word": word, "edit_id": row.id}
                for row in page
                for word in words_of(
                    (row.subject, *row.event.get("aliases", ()), row.target_new, row.prompt, row.relation)
                )
            ],
        )


def _pages(connection: sa.Connection) -> Iterator[Sequence[sa.Row[Any]]]:
    edits = sa.table(
        "edits",
        *(sa.column(name) for name in ("id", "subject", "target_new", "prompt", "relation")),
        sa.column("event", sa.JSON),
    )
    after = 0
    while page := connection.execute(
        sa.select(edits).where(edits.c.id > after).order_by(edits.c.id).limit(_PAGE)
    ).all():
        yield page
        after = page[-1].id


def _insert(connection: sa.Connection, statement: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.text(statement), rows)
