"""Running counts of edits by state and of rollbacks: a scrape costs the same however large the ledger is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATES = ("pending", "planned", "applying", "live", "superseded", "retracted", "rejected", "quarantined")


def upgrade() -> None:
    """Make the table, and count once what is there; earlier rollbacks were not kept apart and count as none."""
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tallies")),
    )
    for state in _STATES:
        op.execute(
            "INSERT INTO tallies (name, value) "  # noqa: S608 -- our own words
            f"SELECT '{state}', count(*) FROM edits WHERE state = '{state}'"
        )
    op.execute("INSERT INTO tallies (name, value) VALUES ('rollbacks', 0)")
