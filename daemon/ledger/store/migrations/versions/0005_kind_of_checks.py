"""A check's kind is a column; until now it was a prefix of its suite's name."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_PREFIXES = {"full": "*full ", "blame": "*blame "}


def upgrade() -> None:
    """Add the column, and take each prefix off the names that have one: no other suite's name may begin with "*"."""
    op.add_column("checks", sa.Column("kind", sa.String(length=16), nullable=False, server_default="sample"))
    op.drop_index("uq_checks_open", table_name="checks")
    for kind, prefix in _PREFIXES.items():
        op.execute(
            f"UPDATE checks SET kind = '{kind}', suite = substr(suite, {len(prefix) + 1}) "  # noqa: S608 -- our own words
            f"WHERE suite LIKE '{prefix}%'"
        )
    is_open = sa.text("state IN ('waiting', 'leased')")
    op.create_index(
        "uq_checks_open",
        "checks",
        ["kind", "suite"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
