"""Regression checks: those that were asked for, how far they are, and what they found."""

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

from daemon.ledger.store.schema.columns import CAUSE_CHARS, REASON_CHARS, WORKER_CHARS, Id, Moment
from daemon.ledger.store.schema.conditions import CHECK_IS_OPEN, CHECK_STATES, one_of, partial_index
from daemon.ledger.store.schema.metadata import metadata

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
    partial_index("uq_checks_open", "kind", "suite", where=CHECK_IS_OPEN, unique=True),
)

# How far a check has come: whoever claims it next goes on from there.
check_progress = Table(
    "check_progress",
    metadata,
    Column("check_id", ForeignKey("checks.id"), primary_key=True),
    Column("body", JSON, nullable=False),
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
