"""Bring a ledger up to this release by the numbered migrations, all of them or none."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from daemon.ledger.errors import LedgerTooNew
from daemon.ledger.store.database import Database

_SCRIPTS = Path(__file__).parent / "migrations"
_POSTGRES_LOCK = 0x75706B656570  # "upkeep": processes that migrate take turns


def migrate(database: Database) -> None:
    """See `Ledger.migrate`."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    with database.read() as connection:
        if _revision(connection, scripts) == scripts.get_current_head():
            return
    with database.write() as connection:
        if not database.is_sqlite:
            from daemon.ledger.store.postgres import lift_limits

            lift_limits(connection)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        if _revision(connection, scripts) != scripts.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _revision(connection: Connection, scripts: ScriptDirectory) -> str | None:
    """The ledger's revision; None before the first migration.

    Raises:
        LedgerTooNew: this release does not know it.
    """
    revision = MigrationContext.configure(connection).get_current_revision()
    known = [script.revision for script in scripts.walk_revisions()]
    if revision is not None and revision not in known:
        raise LedgerTooNew(
            f"the ledger is at revision {revision}, written by a later release of Upkeep; this one knows "
            f"up to {scripts.get_current_head()}: install that release, or restore a backup from before it"
        )
    return revision
