"""A rollback of very many edits answers by reference until its changes are written down."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table: it has a row only while such a rollback is being written down."""
    op.create_table(
        "rollback_references",
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("answers_as", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(length=1000), nullable=False),
        sa.Column("is_switching_on", sa.Boolean(), nullable=False),
        sa.Column("reached", sa.BigInteger(), nullable=False),
        sa.Column("reached_edit", sa.BigInteger(), nullable=False),
        sa.Column("exceptions", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["generation"], ["generations.number"], name=op.f("fk_rollback_references_generation")
        ),
        sa.ForeignKeyConstraint(
            ["answers_as"], ["generations.number"], name=op.f("fk_rollback_references_answers_as")
        ),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_rollback_references")),
    )
