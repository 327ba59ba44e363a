"""Locality regressions: asked for by the scheduler, run by a worker under lease, kept with their scores."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, delete, insert, select, update

from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.lease_queue import CHECKS
from daemon.ledger.store.rows import clip
from daemon.ledger.store.schema import check_evidence, check_newest, check_progress, check_results, checks
from daemon.ledger.store.schema.columns import CAUSE_CHARS, REASON_CHARS
from daemon.ledger.store.schema.conditions import CHECK_IS_OPEN
from daemon.ledger.values import CheckKind, CheckResult, ClaimedCheck
from monitoring.checks.tally import Failure

MAX_ATTEMPTS = 3  # claims without progress: a check that ends its workers is given up


class Checks:
    """Requests, leases, progress and results; `None` as a suite means all of them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def request(
        self,
        suite: str | None,
        cause: str,
        *,
        kind: CheckKind = CheckKind.SAMPLE,
        progress: Any | None = None,
    ) -> int:
        """Ask for a check; the number of the open request, which may be an earlier one of the same kind.

        `progress` (any JSON value) is what the first worker begins with; an earlier request keeps its own.
        """
        name = suite or ""  # empty: all suites
        with self._database.write() as connection:
            lock_head(connection)
            open_one = select(checks.c.id).where(
                CHECK_IS_OPEN, checks.c.kind == kind.value, checks.c.suite == name
            )
            if (known := connection.execute(open_one).scalar_one_or_none()) is not None:
                return int(known)
            at = self._clock()
            row = {
                "kind": kind.value,
                "suite": name,
                "cause": clip(cause, CAUSE_CHARS),
                "state": "waiting",
                "token": 0,
                "attempts": 0,
            }
            added = insert(checks).values(**row, free_at=at, created_at=at).returning(checks.c.id)
            number = int(connection.execute(added).scalar_one())
            if progress is not None:
                connection.execute(insert(check_progress).values(check_id=number, body=progress))
            return number

    def claim(
        self, worker: str, *, lease_seconds: float, kinds: Collection[CheckKind] = tuple(CheckKind)
    ) -> ClaimedCheck | None:
        """Take the oldest open request of these kinds, also one whose lease ran out; None: there is none.

        A request whose workers died `MAX_ATTEMPTS` times without progress is closed as failed.
        """
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            _give_up_on_hopeless(connection, at)
            wanted = checks.c.kind.in_([kind.value for kind in kinds])
            row = CHECKS.next_free(connection, at, wanted, order_by=(checks.c.id,))
            if row is None:
                return None
            token = CHECKS.claim(connection, row, worker, until=at + timedelta(seconds=lease_seconds))
            left = select(check_progress.c.body).where(check_progress.c.check_id == row.id)
            progress = connection.execute(left).scalar_one_or_none()
        return ClaimedCheck(row.id, row.suite or None, token, CheckKind(row.kind), progress)

    def heartbeat(self, check_id: int, token: int, *, lease_seconds: float) -> None:
        """Keep the lease for `lease_seconds` from now.

        Raises:
            LeaseLost: somebody else has the check, or it is done.
        """
        with self._database.write() as connection:
            CHECKS.update(
                connection, check_id, token, free_at=self._clock() + timedelta(seconds=lease_seconds)
            )

    def release(self, check_id: int, token: int, *, delay_seconds: float = 0.0) -> None:
        """Give the check back untried: this claim does not count, another may come after `delay_seconds`.

        Raises:
            LeaseLost: somebody else has the check, or it is done.
        """
        free_at = self._clock() + timedelta(seconds=delay_seconds)
        with self._database.write() as connection:
            attempts = checks.c.attempts - 1
            CHECKS.release(connection, check_id, token, free_at=free_at, attempts=attempts)

    def pause(self, check_id: int, token: int, progress: Any) -> None:
        """Give the check back with what was done: whoever claims it next goes on from there, with all attempts left.

        Raises:
            LeaseLost: somebody else has the check, or it is done.
        """
        with self._database.write() as connection:
            CHECKS.release(connection, check_id, token, free_at=self._clock(), attempts=0)
            known = update(check_progress).where(check_progress.c.check_id == check_id).values(body=progress)
            if connection.execute(known).rowcount == 0:
                connection.execute(insert(check_progress).values(check_id=check_id, body=progress))

    def fail(self, check_id: int, token: int, reason: str) -> None:
        """Close the request without a result: trying again would fail again. `failure` tells the reason.

        Raises:
            LeaseLost: somebody else has the check, or it is done.
        """
        with self._database.write() as connection:
            clipped = clip(reason, REASON_CHARS)
            CHECKS.update(
                connection, check_id, token, state="failed", reason=clipped, finished_at=self._clock()
            )
            _forget_progress(connection, check_id)

    def failure(self) -> str | None:
        """Why the request that was closed last failed; None: it did not, or none was closed yet."""
        closed = (
            select(checks.c.reason)
            .where(checks.c.state.in_(["done", "failed"]))
            .order_by(checks.c.finished_at.desc(), checks.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            return connection.execute(closed).scalar_one_or_none()

    def finish(
        self,
        check_id: int,
        token: int,
        results: Sequence[CheckResult],
        *,
        worst: Mapping[str, Sequence[Failure]] | None = None,
    ) -> None:
        """Close the request and keep its results, with each suite's `worst` probes, in one transaction.

        Raises:
            LeaseLost: somebody else has the check, or it is done; no result is kept.
        """
        with self._database.write() as connection:
            CHECKS.update(connection, check_id, token, state="done", finished_at=self._clock())
            _forget_progress(connection, check_id)
            for result in results:
                _keep(connection, check_id, result, (worst or {}).get(result.suite, ()))

    def latest(self) -> list[CheckResult]:
        """The newest result of each suite, by suite; costs the same however many there are."""
        return self._newest(check_newest.c.result_id)

    def latest_failed(self) -> list[CheckResult]:
        """The newest failed result of each suite that ever failed, by suite; costs the same however many there are."""
        return self._newest(check_newest.c.failed_result_id)

    def _newest(self, result_id: Column[Any]) -> list[CheckResult]:
        newest = _select_results().join(check_newest, result_id == check_results.c.id)
        with self._database.read() as connection:
            return [_to_result(row) for row in connection.execute(newest.order_by(check_newest.c.suite))]

    def failures(self) -> dict[str, int]:
        """How often each suite has failed so far."""
        query = select(check_newest.c.suite, check_newest.c.failed).order_by(check_newest.c.suite)
        with self._database.read() as connection:
            return {row.suite: int(row.failed) for row in connection.execute(query)}

    def worst(self) -> dict[str, tuple[Failure, ...]]:
        """The failing probes of each suite's newest result, the worst first."""
        query = select(check_newest.c.suite, check_evidence.c.worst).join(
            check_evidence, check_evidence.c.result_id == check_newest.c.result_id
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(check_newest.c.suite)).all()
        return {row.suite: tuple(Failure.model_validate(found) for found in row.worst) for row in rows}

    def results(self, limit: int) -> list[CheckResult]:
        """The last results, the newest first."""
        query = _select_results().order_by(check_results.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_to_result(row) for row in connection.execute(query)]

    def trail(self, suite: str, baseline: str, limit: int) -> list[CheckResult]:
        """The last results of one suite against one baseline, the newest first."""
        query = (
            _select_results()
            .where(check_results.c.suite == suite, check_evidence.c.baseline == baseline)
            .order_by(check_results.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_to_result(row) for row in connection.execute(query)]


def _forget_progress(connection: Connection, check_id: int) -> None:
    connection.execute(delete(check_progress).where(check_progress.c.check_id == check_id))


def _give_up_on_hopeless(connection: Connection, at: datetime) -> None:
    reason = f"{MAX_ATTEMPTS} workers died or were lost while they ran it"
    for row in connection.execute(select(checks).where(CHECK_IS_OPEN, CHECKS.is_free(at))).all():
        if CHECKS.give_up(connection, row, MAX_ATTEMPTS, at=at, reason=reason, worker=None):
            _forget_progress(connection, row.id)


def _keep(connection: Connection, check_id: int, result: CheckResult, worst: Sequence[Failure]) -> None:
    row = {
        "check_id": check_id,
        "suite": result.suite,
        "generation": result.generation,
        "at": result.at,
        "passed": result.passed,
        "scores": dict(result.scores),
        "probes": result.probes,
    }
    added = insert(check_results).values(**row).returning(check_results.c.id)
    number = int(connection.execute(added).scalar_one())
    evidence = {"baseline": result.baseline, "worst": [failure.model_dump() for failure in worst]}
    connection.execute(insert(check_evidence).values(result_id=number, **evidence))
    failed = int(not result.passed)
    newest = {"result_id": number} | ({"failed_result_id": number} if failed else {})
    known = update(check_newest).where(check_newest.c.suite == result.suite)
    if connection.execute(known.values(**newest, failed=check_newest.c.failed + failed)).rowcount == 0:
        connection.execute(insert(check_newest).values(**newest, suite=result.suite, failed=failed))


def _select_results() -> Select[Any]:
    """All columns of `check_results`, with the baseline of those that have one."""
    evidence = check_evidence.c.result_id == check_results.c.id
    return select(check_results, check_evidence.c.baseline).outerjoin(check_evidence, evidence)


def _to_result(row: Row[Any]) -> CheckResult:
    return CheckResult(
        suite=row.suite,
        generation=row.generation,
        at=row.at,
        passed=row.passed,
        scores=row.scores,
        probes=row.probes,
        baseline=row.baseline or "",
    )
