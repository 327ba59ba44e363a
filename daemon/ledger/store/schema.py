"""The ledger's tables, indexes and checks; migrations/ builds the same, and a test compares the two."""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    event,
)

from daemon.ledger.store.columns import CAUSE_CHARS, REASON_CHARS, WORKER_CHARS, EditKey, Id, Moment, Word
from daemon.ledger.store.conditions import (
    APPEND_ONLY,
    BATCH_IS_OPEN,
    BATCH_STATES,
    CHECK_IS_OPEN,
    CHECK_STATES,
    IS_BEATEN,
    IS_HELD,
    IS_LIVE,
    IS_WAITING,
    PROPOSAL_STATES,
    UNSENT,
    WAS_SPLIT,
    one_of,
)
from daemon.ledger.values import EditState, Lane, RecordOutcome

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger),
    Column("hold_reason", String(REASON_CHARS)),
    CheckConstraint("id = 1", name="one_row"),
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

edits = Table(
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
    Index("uq_edits_live_fact", "fact_key", unique=True, sqlite_where=IS_LIVE, postgresql_where=IS_LIVE),
    Index("uq_edits_live_prompt", "prompt_key", unique=True, sqlite_where=IS_LIVE, postgresql_where=IS_LIVE),
    Index("ix_edits_live_generation", "generation", "id", sqlite_where=IS_LIVE, postgresql_where=IS_LIVE),
    Index("ix_edits_relation", "relation", "id"),
    Index("ix_edits_superseded_by", "superseded_by", sqlite_where=IS_BEATEN, postgresql_where=IS_BEATEN),
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

plans = Table(
    "plans",
    metadata,
    Column("id", Id, primary_key=True),
    Column("created_at", Moment, nullable=False),
    Column("lane", String(8)),
    Column("seed", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
    Column("origin", String(16)),  # null: not recorded
    Column("actor", String(WORKER_CHARS)),
    Column("reason", String(REASON_CHARS)),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Id, primary_key=True),
    Column("plan_id", ForeignKey("plans.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("lane", String(8), nullable=False),
    Column("editor", String(100)),
    Column("state", String(16), nullable=False),
    Column("reason", String(REASON_CHARS), nullable=False),
    Column("token", BigInteger, nullable=False),  # grows with every claim: the fencing token
    Column("attempts", Integer, nullable=False),
    Column("worker", String(WORKER_CHARS)),
    Column("free_at", Moment, nullable=False),  # planned: not before this; leased: the lease ends
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    CheckConstraint(one_of("state", BATCH_STATES), name="state"),
    Index(
        "ix_batches_open",
        "lane",
        "plan_id",
        "sequence",
        "id",
        sqlite_where=BATCH_IS_OPEN,
        postgresql_where=BATCH_IS_OPEN,
    ),
    Index("ix_batches_split", "id", sqlite_where=WAS_SPLIT, postgresql_where=WAS_SPLIT),
    Index("ix_batches_finished", "editor", "finished_at"),
)

# Plans that wait for a person (`schedule.approval`), and what became of them.
plan_proposals = Table(
    "plan_proposals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("created_at", Moment, nullable=False),
    Column("lane", String(8)),
    Column("seed", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("decided_at", Moment),
    Column("decided_by", String(WORKER_CHARS)),
    Column("reason", String(REASON_CHARS)),
    Column("plan_id", ForeignKey("plans.id")),
    CheckConstraint(one_of("state", PROPOSAL_STATES), name="state"),
    Index(
        "uq_plan_proposals_waiting",
        "state",
        unique=True,
        sqlite_where=IS_WAITING,
        postgresql_where=IS_WAITING,
    ),
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

outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", String(512), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("sent_at", Moment),
    Index("ix_outbox_unsent", "id", sqlite_where=UNSENT, postgresql_where=UNSENT),
    Index(None, "sent_at"),
)

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

checks = Table(
    "checks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("suite", String(200), nullable=False),  # empty: all suites
    Column("cause", String(CAUSE_CHARS), nullable=False),
    Column("state", String(16), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("worker", String(WORKER_CHARS)),
    Column("free_at", Moment, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("reason", String(REASON_CHARS)),  # why it failed
    Column("kind", String(16), nullable=False, server_default="sample"),
    CheckConstraint(one_of("state", CHECK_STATES), name="state"),
    Index(
        "uq_checks_open",
        "kind",
        "suite",
        unique=True,
        sqlite_where=CHECK_IS_OPEN,
        postgresql_where=CHECK_IS_OPEN,
    ),
)

check_results = Table(
    "check_results",
    metadata,
    Column("id", Id, primary_key=True),
    Column("check_id", ForeignKey("checks.id")),
    Column("suite", String(200), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("scores", JSON, nullable=False),
    Column("probes", Integer, nullable=False),
    Index(None, "suite", "id"),
    Index("ix_check_results_generation", "generation", "suite", "id"),
)

# How far a check has come: whoever claims it next goes on from there.
check_progress = Table(
    "check_progress",
    metadata,
    Column("check_id", ForeignKey("checks.id"), primary_key=True),
    Column("body", JSON, nullable=False),
)

check_evidence = Table(
    "check_evidence",
    metadata,
    Column("result_id", ForeignKey("check_results.id"), primary_key=True),
    Column("baseline", String(64), nullable=False),  # which probes, against which base
    Column("worst", JSON, nullable=False),  # failing probes with both answers
)

# Each suite's newest result and its failures so far, known without reading all results at every scrape.
check_newest = Table(
    "check_newest",
    metadata,
    Column("suite", String(200), primary_key=True),
    Column("result_id", ForeignKey("check_results.id"), nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("failed_result_id", Id),  # the newest that failed
)

base_answers = Table(
    "base_answers",
    metadata,
    Column("base_hash", String(200), primary_key=True),
    Column("asked", String(64), primary_key=True),  # sha256 of the prompt and the longest answer allowed
    Column("answer", JSON, nullable=False),
)

# A cache: vectors of texts, which can be made again.
embeddings = Table(
    "embeddings",
    metadata,
    Column("key", String(64), primary_key=True),  # sha256 of the embedder's identity and the text
    Column("vector", LargeBinary, nullable=False),  # float16, little-endian
    Column("created_at", Moment, nullable=False),
    Index(None, "created_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("worker", String(WORKER_CHARS), primary_key=True),
    Column("device", String(100), nullable=False),
    Column("batch_id", BigInteger),
    Column("seen_at", Moment, nullable=False),
)

# Batches are held while a row is not released; `head.hold_reason` then has the first one's reason.
holds = Table(
    "holds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("actor", String(WORKER_CHARS), nullable=False),
    Column("reason", String(REASON_CHARS), nullable=False),
    Column("released_at", Moment),
    Column("released_by", String(WORKER_CHARS)),
    Index("ix_holds_open", "id", sqlite_where=IS_HELD, postgresql_where=IS_HELD),
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
