"""Plans that wait for a person; which batches were split, and how long batches took, found without reading all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table and the indexes."""
    op.create_table(
        "plan_proposals",
        sa.Column("id", _ID, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("lane", sa.String(length=8)),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("decided_by", sa.String(length=200)),
        sa.Column("reason", sa.String(length=1000)),
        sa.Column("plan_id", _ID),
        sa.CheckConstraint(
            "state IN ('waiting', 'approved', 'declined', 'replaced')", name=op.f("ck_plan_proposals_state")
        ),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_plan_proposals_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_proposals")),
    )
    waiting, split = sa.text("state = 'waiting'"), sa.text("state = 'split'")
    op.create_index(
        "uq_plan_proposals_waiting",
        "plan_proposals",
        ["state"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index("ix_batches_split", "batches", ["id"], sqlite_where=split, postgresql_where=split)
    op.create_index("ix_batches_finished", "batches", ["editor", "finished_at"])
