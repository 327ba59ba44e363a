"""Plans, the batches that are made of them, and who works on them."""

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
)

from daemon.ledger.store.schema.columns import REASON_CHARS, WORKER_CHARS, Id, Moment
from daemon.ledger.store.schema.conditions import (
    BATCH_IS_OPEN,
    BATCH_STATES,
    IS_HELD,
    IS_WAITING,
    PROPOSAL_STATES,
    WAS_SPLIT,
    one_of,
    partial_index,
)
from daemon.ledger.store.schema.metadata import metadata

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
    partial_index("uq_plan_proposals_waiting", "state", where=IS_WAITING, unique=True),
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
    partial_index("ix_batches_open", "lane", "plan_id", "sequence", "id", where=BATCH_IS_OPEN),
    partial_index("ix_batches_split", "id", where=WAS_SPLIT),
    Index("ix_batches_finished", "editor", "finished_at"),
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
    partial_index("ix_holds_open", "id", where=IS_HELD),
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
