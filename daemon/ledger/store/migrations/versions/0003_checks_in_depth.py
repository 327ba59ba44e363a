"""Checks in depth: progress, evidence, base answers by prompt, the newest results, and live edits by generation."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables; the answers kept by suite are dropped, since they can be asked for again."""
    op.create_table(
        "check_progress",
        sa.Column("check_id", _ID, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.ForeignKeyConstraint(["check_id"], ["checks.id"], name=op.f("fk_check_progress_check_id")),
        sa.PrimaryKeyConstraint("check_id", name=op.f("pk_check_progress")),
    )
    op.create_table(
        "check_evidence",
        sa.Column("result_id", _ID, nullable=False),
        sa.Column("baseline", sa.String(length=64), nullable=False),
        sa.Column("worst", sa.JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["result_id"], ["check_results.id"], name=op.f("fk_check_evidence_result_id")
        ),
        sa.PrimaryKeyConstraint("result_id", name=op.f("pk_check_evidence")),
    )
    op.create_table(
        "check_newest",
        sa.Column("suite", sa.String(length=200), nullable=False),
        sa.Column("result_id", _ID, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["check_results.id"], name=op.f("fk_check_newest_result_id")),
        sa.PrimaryKeyConstraint("suite", name=op.f("pk_check_newest")),
    )
    op.execute(
        "INSERT INTO check_newest (suite, result_id, failed) "
        "SELECT suite, max(id), sum(CASE WHEN passed THEN 0 ELSE 1 END) FROM check_results GROUP BY suite"
    )
    op.create_table(
        "base_answers",
        sa.Column("base_hash", sa.String(length=200), nullable=False),
        sa.Column("asked", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("base_hash", "asked", name=op.f("pk_base_answers")),
    )
    op.drop_table("baselines")
    op.create_index(
        "ix_edits_live_generation",
        "edits",
        ["generation", "id"],
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )
