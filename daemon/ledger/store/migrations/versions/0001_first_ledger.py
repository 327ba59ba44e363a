"""The first ledger: records, edits and their history, plans, batches, generations, checks, jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table, the head and the counters."""
    _one_row_and_counts()
    _plans()
    _edits()
    _about_edits()
    _generations()
    _checks()
    _jobs()
    op.execute("INSERT INTO head (id) VALUES (1)")
    for outcome in ("accepted", "duplicate", "dead_lettered"):
        op.execute(f"INSERT INTO record_counts (outcome, records) VALUES ('{outcome}', 0)")  # noqa: S608


def _one_row_and_counts() -> None:
    """Kafka's records, and the row that writers lock."""
    op.create_table(
        "head",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger),
        sa.Column("hold_reason", sa.String(length=1000)),
        sa.CheckConstraint("id = 1", name=op.f("ck_head_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
    )
    op.create_table(
        "record_counts",
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("outcome", name=op.f("pk_record_counts")),
    )
    op.create_table(
        "records",
        sa.Column("id", _ID, nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=200)),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=1000)),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "outcome IN ('accepted', 'duplicate', 'dead_lettered')", name=op.f("ck_records_outcome")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_records")),
        sa.UniqueConstraint(
            "topic", "partition", "offset", "digest", name=op.f("uq_records_topic_partition_offset_digest")
        ),
    )


def _plans() -> None:
    """Plans and their batches."""
    op.create_table(
        "plans",
        sa.Column("id", _ID, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("lane", sa.String(length=8)),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
    )
    op.create_table(
        "batches",
        sa.Column("id", _ID, nullable=False),
        sa.Column("plan_id", _ID, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("editor", sa.String(length=100)),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(length=200)),
        sa.Column("free_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.CheckConstraint(
            "state IN ('planned', 'leased', 'done', 'split', 'quarantined')", name=op.f("ck_batches_state")
        ),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_batches_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index(
        "ix_batches_open",
        "batches",
        ["lane", "plan_id", "sequence", "id"],
        sqlite_where=sa.text("state IN ('planned', 'leased')"),
        postgresql_where=sa.text("state IN ('planned', 'leased')"),
    )


def _edits() -> None:
    """Edits."""
    op.create_table(
        "edits",
        sa.Column("id", _ID, nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("content_digest", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("op", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("subject", sa.String(length=512), nullable=False),
        sa.Column("relation", sa.String(length=200)),
        sa.Column("prompt", sa.String(length=2048)),
        sa.Column("target_new", sa.String(length=512)),
        sa.Column("occurred_at", sa.BigInteger, nullable=False),
        sa.Column("fact_key", sa.String(length=200), nullable=False),
        sa.Column("prompt_key", sa.String(length=200)),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("batch_id", _ID),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("shard", sa.String(length=200)),
        sa.Column("generation", sa.BigInteger),
        sa.Column("superseded_by", _ID),
        sa.Column("reason", sa.String(length=1000)),
        sa.CheckConstraint("lane IN ('urgent', 'batch')", name=op.f("ck_edits_lane")),
        sa.CheckConstraint("op IN ('assert', 'retract')", name=op.f("ck_edits_op")),
        sa.CheckConstraint(
            "state <> 'live' OR (op = 'assert' AND shard IS NOT NULL)", name=op.f("ck_edits_live_has_shard")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'planned', 'applying', 'live', "
            "'superseded', 'retracted', 'rejected', 'quarantined')",
            name=op.f("ck_edits_state"),
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_edits_batch_id")),
        sa.ForeignKeyConstraint(["superseded_by"], ["edits.id"], name=op.f("fk_edits_superseded_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edits")),
        sa.UniqueConstraint("event_id", name=op.f("uq_edits_event_id")),
    )
    op.create_index(op.f("ix_edits_batch_id"), "edits", ["batch_id"])
    op.create_index(op.f("ix_edits_fact_key_state"), "edits", ["fact_key", "state"])
    op.create_index(op.f("ix_edits_prompt_key_state"), "edits", ["prompt_key", "state"])
    op.create_index(op.f("ix_edits_state_lane_id"), "edits", ["state", "lane", "id"])
    op.create_index(
        "uq_edits_live_fact",
        "edits",
        ["fact_key"],
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )
    op.create_index(
        "uq_edits_live_prompt",
        "edits",
        ["prompt_key"],
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )


def _about_edits() -> None:
    """What is kept about each edit."""
    op.create_table(
        "edit_names",
        sa.Column("name_key", sa.String(length=200), nullable=False),
        sa.Column("edit_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"], name=op.f("fk_edit_names_edit_id")),
        sa.PrimaryKeyConstraint("name_key", "edit_id", name=op.f("pk_edit_names")),
    )
    op.create_table(
        "history",
        sa.Column("id", _ID, nullable=False),
        sa.Column("edit_id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("from_state", sa.String(length=16)),
        sa.Column("to_state", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=300), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"], name=op.f("fk_history_edit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history")),
    )
    op.create_index(op.f("ix_history_edit_id"), "history", ["edit_id"])
    op.create_table(
        "outbox",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_sent_at"), "outbox", ["sent_at"])
    op.create_index(
        "ix_outbox_unsent",
        "outbox",
        ["id"],
        sqlite_where=sa.text("sent_at IS NULL"),
        postgresql_where=sa.text("sent_at IS NULL"),
    )


def _generations() -> None:
    """Generations."""
    op.create_table(
        "generations",
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("parent", sa.BigInteger),
        sa.Column("base_hash", sa.String(length=200), nullable=False),
        sa.Column("shards", sa.JSON, nullable=False),
        sa.Column("cause", sa.String(length=300), nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["parent"], ["generations.number"], name=op.f("fk_generations_parent")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_generations")),
    )
    op.create_table(
        "generation_changes",
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("edit_id", _ID, nullable=False),
        sa.Column("shard", sa.String(length=200)),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"], name=op.f("fk_generation_changes_edit_id")),
        sa.ForeignKeyConstraint(
            ["generation"], ["generations.number"], name=op.f("fk_generation_changes_generation")
        ),
        sa.PrimaryKeyConstraint("generation", "edit_id", name=op.f("pk_generation_changes")),
    )


def _checks() -> None:
    """Locality regressions."""
    op.create_table(
        "checks",
        sa.Column("id", _ID, nullable=False),
        sa.Column("suite", sa.String(length=200), nullable=False),
        sa.Column("cause", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(length=200)),
        sa.Column("free_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("reason", sa.String(length=1000)),
        sa.CheckConstraint("state IN ('waiting', 'leased', 'done', 'failed')", name=op.f("ck_checks_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checks")),
    )
    op.create_index(
        "uq_checks_open",
        "checks",
        ["suite"],
        unique=True,
        sqlite_where=sa.text("state IN ('waiting', 'leased')"),
        postgresql_where=sa.text("state IN ('waiting', 'leased')"),
    )
    op.create_table(
        "check_results",
        sa.Column("id", _ID, nullable=False),
        sa.Column("check_id", _ID),
        sa.Column("suite", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("probes", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["check_id"], ["checks.id"], name=op.f("fk_check_results_check_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check_results")),
    )
    op.create_index(op.f("ix_check_results_suite_id"), "check_results", ["suite", "id"])
    op.create_table(
        "baselines",
        sa.Column("suite_digest", sa.String(length=200), nullable=False),
        sa.Column("base_hash", sa.String(length=200), nullable=False),
        sa.Column("suite", sa.String(length=200), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("suite_digest", "base_hash", name=op.f("pk_baselines")),
    )


def _jobs() -> None:
    """Jobs and workers."""
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("slot", sa.String(length=100), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("ok", sa.Boolean),
        sa.Column("detail", sa.String(length=1000)),
        sa.PrimaryKeyConstraint("name", "slot", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_started_at"), "jobs", ["started_at"])
    op.create_table(
        "job_successes",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_successes")),
    )
    op.create_table(
        "workers",
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("device", sa.String(length=100), nullable=False),
        sa.Column("batch_id", sa.BigInteger),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_workers")),
    )
