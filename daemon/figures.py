"""What the ledger says at one moment, as the metrics want to have it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from daemon.ledger import Ledger, utc_now
from daemon.ledger.values import CheckResult
from monitoring.collector import LedgerFigures, SuiteFigures

WORKER_SILENT_SECONDS = 120.0  # a worker that has said nothing for so long does not count


def ledger_figures(ledger: Ledger, *, clock: Callable[[], datetime] = utc_now) -> LedgerFigures:
    """Read everything that is exported; a handful of indexed queries.

    Raises:
        LedgerUnavailable: the ledger cannot be read at this moment.
    """
    head = ledger.generations.head()
    results = ledger.checks.latest()
    heard = clock() - timedelta(seconds=WORKER_SILENT_SECONDS)
    return LedgerFigures(
        edits={state.value: count for state, count in ledger.audit.counts().items()},
        generation=head.number if head else None,
        base_hash=head.base_hash if head else None,
        suites={result.suite: _suite(result) for result in results},
        job_last_success=ledger.jobs.last_success(),
        regression_last_success=max((result.at for result in results), default=None),
        held=ledger.control.held() is not None,
        workers=sum(worker.seen_at >= heard for worker in ledger.control.workers()),
    )


def _suite(result: CheckResult) -> SuiteFigures:
    scores = result.scores
    return SuiteFigures(
        passed=result.passed,
        locality=scores.get("locality"),
        locality_low=scores.get("locality_low"),
        locality_high=scores.get("locality_high"),
        false_fire=scores.get("false_fire"),
        retention=scores.get("retention"),
    )
