"""The ledger's tables, indexes and checks; migrations/ builds the same, and a test compares the two."""

from daemon.ledger.store.schema.check_tables import (
    base_answers,
    check_evidence,
    check_newest,
    check_progress,
    check_results,
    checks,
)
from daemon.ledger.store.schema.edit_tables import edit_names, edit_words, edits, history
from daemon.ledger.store.schema.generation_tables import (
    generation_changes,
    generation_origins,
    generations,
    head,
    rollback_references,
)
from daemon.ledger.store.schema.intake import outbox, record_counts, records, tallies
from daemon.ledger.store.schema.metadata import metadata
from daemon.ledger.store.schema.operations import audit_log, job_starts, job_successes, jobs, turns
from daemon.ledger.store.schema.work import batches, embeddings, holds, plan_proposals, plans, workers

__all__ = [
    "audit_log",
    "base_answers",
    "batches",
    "check_evidence",
    "check_newest",
    "check_progress",
    "check_results",
    "checks",
    "edit_names",
    "edit_words",
    "edits",
    "embeddings",
    "generation_changes",
    "generation_origins",
    "generations",
    "head",
    "history",
    "holds",
    "job_starts",
    "job_successes",
    "jobs",
    "metadata",
    "outbox",
    "plan_proposals",
    "plans",
    "record_counts",
    "records",
    "rollback_references",
    "tallies",
    "turns",
    "workers",
]
