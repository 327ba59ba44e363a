"""When a job was first kept, and whose turn it is at what one process at a time does."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables; a ledger without them had nothing of the kind under way."""
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
