"""The ledger's figures at one moment, in the form that the metrics export."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from daemon.ledger import Ledger, utc_now
from daemon.ledger.values import CheckResult
from monitoring.checks.parity import PARITY
from monitoring.metrics.collector import BatchFigures, LedgerFigures, SuiteFigures

WORKER_SILENT_SECONDS = 120.0  # a worker whose last heartbeat is older does not count
# A suite that was taken out of the settings is no longer checked: its last result is no news, and no alert.
SUITE_FORGOTTEN = timedelta(days=3)


def ledger_figures(
    ledger: Ledger, *, suites: Collection[str] = (), clock: Callable[[], datetime] = utc_now
) -> LedgerFigures:
    """Read everything that is exported; a handful of queries, none of which grows with the number of edits.

    Failures are counted from 0 on for `suites` too, those that are still to be checked for the first time: else
    nobody could tell a first failure from a count that merely became visible.

    Raises:
        LedgerUnavailable: the ledger cannot be read at this moment.
    """
    tip = ledger.generations.tip()
    latest = {result.suite: result for result in ledger.checks.latest()}
    failures = ledger.checks.failures()
    failed = {result.suite: result for result in ledger.checks.latest_failed()}
    parity = latest.pop(PARITY, None)  # no check of locality
    failures.pop(PARITY, None)
    failed.pop(PARITY, None)
    results = latest.values()
    now = clock()
    heard = now - timedelta(seconds=WORKER_SILENT_SECONDS)
    return LedgerFigures(
        edits={state.value: count for state, count in ledger.audit.counts().items()},
        generation=tip[0] if tip else None,
        base_hash=tip[1] if tip else None,
        rollbacks=ledger.audit.rollbacks(),
        batches=tuple(
            BatchFigures(found.lane.value, found.state, found.count, found.oldest)
            for found in ledger.batches.open_ones()
        ),
        suites={result.suite: _suite(result) for result in results if now - result.at < SUITE_FORGOTTEN},
        failed_suites={suite: _suite(result) for suite, result in failed.items()},
        parity=None if parity is None else _suite(parity),
        check_failures=dict.fromkeys(suites, 0) | failures,
        job_last_success=ledger.jobs.last_success(),
        regression_last_success=max((result.at for result in results), default=None),
        held=ledger.control.held() is not None,
        workers=sum(worker.seen_at >= heard for worker in ledger.control.workers()),
    )


def _suite(result: CheckResult) -> SuiteFigures:
    return SuiteFigures(passed=result.passed, at=result.at, probes=result.probes, scores=dict(result.scores))
