"""Each suite's newest failed result is known, for what an alert tells."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column; it is filled from the results that are kept."""
    op.add_column("check_newest", sa.Column("failed_result_id", _ID))
    op.execute(
        "UPDATE check_newest SET failed_result_id = ("
        "SELECT max(check_results.id) FROM check_results "
        "WHERE check_results.suite = check_newest.suite AND NOT check_results.passed)"
    )
