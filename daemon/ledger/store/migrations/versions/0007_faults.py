"""When a job was first kept, who relays the outbox, and how far a large rollback has come."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables; a ledger without them had nothing of the kind under way."""
    op.create_table(
        "job_starts",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_starts")),
    )
    op.create_table(
        "turns",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=200)),
        sa.Column("free_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_turns")),
    )
    op.create_table(
        "rollbacks",
        sa.Column("generation", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("target", sa.BigInteger, nullable=False),
        sa.Column("phase", sa.String(length=8), nullable=False),
        sa.Column("at_generation", sa.BigInteger, nullable=False),
        sa.Column("at_edit", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_rollbacks")),
        sa.ForeignKeyConstraint(["generation"], ["generations.number"], name=op.f("fk_rollbacks_generation")),
        sa.ForeignKeyConstraint(["target"], ["generations.number"], name=op.f("fk_rollbacks_target")),
        sa.CheckConstraint("phase IN ('off', 'on', 'done')", name=op.f("ck_rollbacks_phase")),
    )
