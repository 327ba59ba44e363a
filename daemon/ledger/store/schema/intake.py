"""What came in from Kafka and what goes out to it, with what would otherwise be counted at every scrape."""

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from daemon.ledger.store.schema.columns import REASON_CHARS, Id, Moment
from daemon.ledger.store.schema.conditions import UNSENT, one_of, partial_index
from daemon.ledger.store.schema.metadata import metadata
from daemon.ledger.values import RecordOutcome

records = Table(
    "records",
    metadata,
    Column("id", Id, primary_key=True),
    Column("topic", String(249), nullable=False),  # 249: Kafka's own limit
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("event_id", String(200)),
    Column("outcome", String(16), nullable=False),
    Column("reason", String(REASON_CHARS)),
    Column("at", Moment, nullable=False),
    UniqueConstraint("topic", "partition", "offset", "digest"),
    Index(None, "event_id"),
    CheckConstraint(one_of("outcome", [o.value for o in RecordOutcome]), name="outcome"),
)

record_counts = Table(
    "record_counts",
    metadata,
    Column("outcome", String(16), primary_key=True),
    Column("records", BigInteger, nullable=False),
)

# What would otherwise be counted again at every scrape: edits by state, and rollbacks.
tallies = Table(
    "tallies",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", String(512), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("sent_at", Moment),
    partial_index("ix_outbox_unsent", "id", where=UNSENT),
    Index(None, "sent_at"),
)
