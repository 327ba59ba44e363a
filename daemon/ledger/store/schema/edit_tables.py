"""Every edit, by what it is found, and the way that it came."""

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from daemon.ledger.store.schema.columns import CAUSE_CHARS, REASON_CHARS, EditKey, Id, Moment, Word
from daemon.ledger.store.schema.conditions import IS_BEATEN, IS_LIVE, one_of, partial_index
from daemon.ledger.store.schema.metadata import metadata
from daemon.ledger.values import EditState, Lane

edits: Table = Table(  # says its type: mypy meets it in a cycle, before it has read this file
    "edits",
    metadata,
    Column("id", EditKey, primary_key=True),
    Column("event_id", String(200), nullable=False),
    Column("content_digest", String(64), nullable=False),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("op", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("lane", String(8), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("relation", String(200)),
    Column("prompt", String(2048)),
    Column("target_new", String(512)),
    Column("occurred_at", Moment, nullable=False),
    Column("fact_key", String(200), nullable=False),
    Column("prompt_key", String(200)),
    Column("event", JSON, nullable=False),
    Column("batch_id", ForeignKey("batches.id")),
    Column("attempts", Integer, nullable=False),
    Column("shard", String(200)),  # the adapter that carries the edit, once it has been live
    Column("generation", BigInteger),  # the one that last switched it on; a retraction's: off
    Column("superseded_by", ForeignKey("edits.id")),
    Column("reason", String(REASON_CHARS)),
    UniqueConstraint("event_id"),
    CheckConstraint("op IN ('assert', 'retract')", name="op"),
    CheckConstraint(one_of("state", [s.value for s in EditState]), name="state"),
    CheckConstraint(one_of("lane", [lane.value for lane in Lane]), name="lane"),
    CheckConstraint("state <> 'live' OR (op = 'assert' AND shard IS NOT NULL)", name="live_has_shard"),
    Index(None, "state", "lane", "id"),
    Index(None, "fact_key", "state"),
    Index(None, "prompt_key", "state"),
    Index(None, "batch_id"),
    # The database itself refuses a second live edit of one fact.
    partial_index("uq_edits_live_fact", "fact_key", where=IS_LIVE, unique=True),
    partial_index("uq_edits_live_prompt", "prompt_key", where=IS_LIVE, unique=True),
    partial_index("ix_edits_live_generation", "generation", "id", where=IS_LIVE),
    Index("ix_edits_relation", "relation", "id"),
    partial_index("ix_edits_superseded_by", "superseded_by", where=IS_BEATEN),
)

edit_names = Table(
    "edit_names",
    metadata,
    Column("name_key", String(200), primary_key=True),
    Column("edit_id", ForeignKey("edits.id"), primary_key=True),
)

# The words of each edit's texts, for a search whose cost does not grow with the ledger.
edit_words = Table(
    "edit_words",
    metadata,
    Column("word", Word, primary_key=True),
    Column("edit_id", ForeignKey("edits.id"), primary_key=True),
    sqlite_with_rowid=False,
)

history = Table(
    "history",
    metadata,
    Column("id", Id, primary_key=True),
    Column("edit_id", ForeignKey("edits.id"), nullable=False),
    Column("at", Moment, nullable=False),
    Column("from_state", String(16)),
    Column("to_state", String(16), nullable=False),
    Column("cause", String(CAUSE_CHARS), nullable=False),
    Column("detail", JSON, nullable=False),
    Index(None, "edit_id"),
)
