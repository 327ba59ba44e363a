"""What was published: the head, the generations, and what each of them changed."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
)

from daemon.ledger.store.schema.columns import CAUSE_CHARS, REASON_CHARS, WORKER_CHARS, Moment
from daemon.ledger.store.schema.metadata import metadata

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger),
    Column("hold_reason", String(REASON_CHARS)),
    CheckConstraint("id = 1", name="one_row"),
)

generations = Table(
    "generations",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("parent", ForeignKey("generations.number")),
    Column("base_hash", String(200), nullable=False),
    Column("shards", JSON, nullable=False),
    Column("cause", String(CAUSE_CHARS), nullable=False),
    Column("scores", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
)

generation_changes = Table(
    "generation_changes",
    metadata,
    Column("generation", ForeignKey("generations.number"), primary_key=True),
    Column("edit_id", ForeignKey("edits.id"), primary_key=True),
    Column("shard", String(200)),  # null: switched off
    Index("ix_generation_changes_edit", "edit_id", "generation"),
)

# What a list of generations shows, known without counting what each of them changed.
generation_origins = Table(
    "generation_origins",
    metadata,
    Column("generation", ForeignKey("generations.number"), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("batch_id", ForeignKey("batches.id")),
    Column("actor", String(WORKER_CHARS)),  # who took something back; null: no person did
    Column("switched_on", Integer, nullable=False),
    Column("switched_off", Integer, nullable=False),
)

# A rollback of very many edits is published before its changes are written: until then its generation answers as an earlier
# one did. There is one row at most, of the head.
rollback_references = Table(
    "rollback_references",
    metadata,
    Column("generation", ForeignKey("generations.number"), primary_key=True),
    Column("answers_as", ForeignKey("generations.number"), nullable=False),
    Column("cause", String(REASON_CHARS), nullable=False),
    # What goes off is written down first, then what comes back; each from the newest change to the oldest, down to this one.
    Column("is_switching_on", Boolean, nullable=False),
    Column("reached", BigInteger, nullable=False),
    Column("reached_edit", BigInteger, nullable=False),
    Column("exceptions", JSON, nullable=False),  # edit -> its shard; null: stays off
)
