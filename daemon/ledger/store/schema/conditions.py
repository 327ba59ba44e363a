"""What the database itself enforces: the states of a row, the conditions of partial indexes, what is append-only."""

from sqlalchemy import Index, TextClause, text


def one_of(column: str, values: list[str]) -> str:
    """The condition that a column holds one of these values."""
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


BATCH_STATES = ["planned", "leased", "done", "split", "quarantined"]
CHECK_STATES = ["waiting", "leased", "done", "failed"]
PROPOSAL_STATES = ["waiting", "approved", "declined", "replaced"]

# A partial index is used only by queries that repeat its condition word for word.
BATCH_IS_OPEN = text("state IN ('planned', 'leased')")
CHECK_IS_OPEN = text("state IN ('waiting', 'leased')")
IS_LIVE = text("state = 'live'")
UNSENT = text("sent_at IS NULL")
IS_BEATEN = text("superseded_by IS NOT NULL")
IS_HELD = text("released_at IS NULL")
IS_WAITING = text("state = 'waiting'")
WAS_SPLIT = text("state = 'split'")


def partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    """An index over the rows of which `where` holds, on both databases."""
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_REFUSE = "the audit log is append-only"
APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER audit_log_{verb.lower()} BEFORE {verb} ON audit_log "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSE}'; END $$",
        "CREATE TRIGGER audit_log_refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()",
    ],
}
