"""What had each plan made: the schedule, the urgent lane, or a person, with their reason."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of older plans it is known of those alone that somebody approved."""
    op.add_column("plans", sa.Column("origin", sa.String(length=16)))
    op.add_column("plans", sa.Column("actor", sa.String(length=200)))
    op.add_column("plans", sa.Column("reason", sa.String(length=1000)))
    approved = "FROM plan_proposals AS p WHERE p.plan_id = plans.id AND p.state = 'approved'"
    op.execute(
        f"UPDATE plans SET origin = 'approval', actor = (SELECT max(p.decided_by) {approved}), "  # noqa: S608 -- our own words
        f"reason = (SELECT max(p.reason) {approved}) WHERE EXISTS (SELECT 1 {approved})"
    )
