"""When a job ran, whose turn it is, and what people did."""

from sqlalchemy import DDL, JSON, Boolean, Column, Index, String, Table, event

from daemon.ledger.store.schema.columns import REASON_CHARS, WORKER_CHARS, Id, Moment
from daemon.ledger.store.schema.conditions import APPEND_ONLY
from daemon.ledger.store.schema.metadata import metadata

jobs = Table(
    "jobs",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("slot", String(100), primary_key=True),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("ok", Boolean),
    Column("detail", String(REASON_CHARS)),
    Index(None, "started_at"),
)

job_successes = Table(
    "job_successes",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("at", Moment, nullable=False),
)

# Since when a job is kept: what was planned before that was not missed.
job_starts = Table(
    "job_starts",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("at", Moment, nullable=False),
)

# Work that one process at a time does, such as relaying the outbox: whose turn it is, and until when.
turns = Table(
    "turns",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("holder", String(WORKER_CHARS)),
    Column("free_at", Moment, nullable=False),
)

# What people did, for good: the database refuses to change or delete a row.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("actor", String(WORKER_CHARS), nullable=False),
    Column("action", String(40), nullable=False),
    Column("reason", String(REASON_CHARS), nullable=False),
    Column("target", JSON, nullable=False),
    Column("changed", JSON, nullable=False),
)
for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        event.listen(audit_log, "after_create", DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]
