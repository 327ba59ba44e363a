"""Where everything stands: what is published, what waits and who works, what holds the work, and what runs next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.ingest.consumer_lag import records_behind
from daemon.ingest.kafka_client import KafkaTiming
from daemon.ledger import Ledger
from daemon.ledger.page_values import BatchLine, GenerationLine
from daemon.ledger.values import CheckResult, EditState, Hold, OpenBatches, RecordOutcome, WorkerSeen
from daemon.planning.scheduler import jobs_of
from daemon.settings.settings import Settings
from edits.errors import PermanentError, TemporaryError

LAG_TIMING = KafkaTiming(answer_ms=2_000, bootstrap_ms=1_500)


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker's last sign of life; `alive`: it gave one within a lease, or holds a batch whose lease still runs."""

    worker: str
    device: str
    batch_id: int | None
    seen_at: datetime
    alive: bool


@dataclass(frozen=True, slots=True)
class Status:
    """The whole at one glance.

    Attributes:
        generation: the newest that is published; servers follow it within seconds.
        backlog: edits that are pending or planned.
        workers: those alive first, then those that fell silent without an end; by name.
        open_batches: counted by lane and state; `running` are those that a worker has.
        next_runs: when each job of the scheduler is due, should one run.
        jobs: when each last ended well.
    """

    generation: GenerationLine | None
    edits: Mapping[EditState, int]
    records: Mapping[RecordOutcome, int]
    backlog: int
    holds: tuple[Hold, ...]
    workers: tuple[WorkerStatus, ...]
    open_batches: tuple[OpenBatches, ...]
    running: tuple[BatchLine, ...]
    next_runs: Mapping[str, datetime]
    jobs: Mapping[str, datetime]
    checks: tuple[CheckResult, ...]
    check_failure: str | None


def status(ledger: Ledger, settings: Settings, now: datetime) -> Status:
    """Ask the ledger; costs the same however large it is, but for the count of what waits."""
    newest = ledger.timeline.page(limit=1).generations
    running = tuple(ledger.batch_lists.leased())
    lease = timedelta(seconds=settings.worker.lease_seconds)
    return Status(
        generation=newest[0] if newest else None,
        edits=ledger.audit.counts(),
        records=ledger.intake.outcomes(),
        backlog=ledger.intake.backlog(),
        holds=tuple(ledger.control.holds()),
        workers=_workers(ledger, running, lease, now),
        open_batches=tuple(ledger.batches.open_ones()),
        running=running,
        next_runs=next_runs(ledger, settings, now),
        jobs=ledger.jobs.last_success(),
        checks=tuple(ledger.checks.latest()),
        check_failure=ledger.checks.failure(),
    )


def next_runs(ledger: Ledger, settings: Settings, now: datetime) -> dict[str, datetime]:
    """When each job of the scheduler is due next, in UTC."""
    return {job.name: job.timetable.after(now).astimezone(now.tzinfo) for job in jobs_of(settings, ledger)}


def lag(settings: Settings) -> int | None:
    """How many records of the topic are not taken yet; None where no broker says so within seconds."""
    try:
        return records_behind(settings.kafka, LAG_TIMING)
    except (TemporaryError, PermanentError):
        return None


def _workers(
    ledger: Ledger, running: tuple[BatchLine, ...], lease: timedelta, now: datetime
) -> tuple[WorkerStatus, ...]:
    found = (_worker(seen, running, lease, now) for seen in ledger.control.workers())
    return tuple(sorted(found, key=lambda one: (not one.alive, one.worker)))


def _worker(
    seen: WorkerSeen, running: tuple[BatchLine, ...], lease: timedelta, now: datetime
) -> WorkerStatus:
    holds_batch = any(one.worker == seen.worker and one.free_at > now for one in running)
    alive = holds_batch or now - seen.seen_at <= lease
    return WorkerStatus(seen.worker, seen.device, seen.batch_id, seen.seen_at, alive)
