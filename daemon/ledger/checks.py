"""Locality regressions: asked for by the scheduler, run by a worker under lease, kept with their scores."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from daemon.ledger.database import Database, lock_head
from daemon.ledger.errors import LeaseLost
from daemon.ledger.rows import clip
from daemon.ledger.schema import (
    CAUSE_CHARS,
    CHECK_IS_OPEN,
    REASON_CHARS,
    WORKER_CHARS,
    baselines,
    check_results,
    checks,
)
from daemon.ledger.values import CheckResult, ClaimedCheck

_ALL_SUITES = ""
MAX_ATTEMPTS = 3  # claims of one request: a check that ends its workers is given up
KEPT_BASELINES = 4  # per suite and base: each change of a suite's probes makes a new one


class Checks:
    """Requests, leases and results; `None` as a suite means all of them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def request(self, suite: str | None, cause: str) -> int:
        """Ask for a check of a suite; the number of the open request, which may be an earlier one."""
        name = suite if suite is not None else _ALL_SUITES
        with self._database.write() as connection:
            lock_head(connection)
            open_one = select(checks.c.id).where(CHECK_IS_OPEN, checks.c.suite == name)
            if (known := connection.execute(open_one).scalar_one_or_none()) is not None:
                return int(known)
            at = self._clock()
            row = {
                "suite": name,
                "cause": clip(cause, CAUSE_CHARS),
                "state": "waiting",
                "token": 0,
                "attempts": 0,
            }
            added = insert(checks).values(**row, free_at=at, created_at=at).returning(checks.c.id)
            return int(connection.execute(added).scalar_one())

    def claim(self, worker: str, *, lease_seconds: float) -> ClaimedCheck | None:
        """Take the oldest open request, also one whose lease ran out; None: there is none.

        A request whose workers died `MAX_ATTEMPTS` times is closed as failed.
        """
        with self._database.write() as connection:
            lock_head(connection)
            at = self._clock()
            _give_up_on_hopeless(connection, at)
            row = connection.execute(
                select(checks).where(CHECK_IS_OPEN, checks.c.free_at <= at).order_by(checks.c.id).limit(1)
            ).one_or_none()
            if row is None:
                return None
            connection.execute(
                update(checks)
                .where(checks.c.id == row.id)
                .values(
                    state="leased",
                    token=row.token + 1,
                    attempts=row.attempts + 1,
                    worker=clip(worker, WORKER_CHARS),
                    free_at=at + timedelta(seconds=lease_seconds),
                )
            )
        return ClaimedCheck(id=row.id, suite=row.suite or None, token=row.token + 1)

    def heartbeat(self, check_id: int, token: int, *, lease_seconds: float) -> None:
        """Keep the lease for `lease_seconds` from now.

        Raises:
            LeaseLost: somebody else has the check, or it is done.
        """
        with self._database.write() as connection:
            _update(connection, check_id, token, free_at=self._clock() + timedelta(seconds=lease_seconds))

    def release(self, check_id: int, token: int, *, delay_seconds: float = 0.0) -> None:
        """Give the check back untried: this claim does not count, another may come after `delay_seconds`.

        Raises:
            LeaseLost: somebody else has the check, or it is done.
        """
        free_at = self._clock() + timedelta(seconds=delay_seconds)
        with self._database.write() as connection:
            columns = {"worker": None, "free_at": free_at, "attempts": checks.c.attempts - 1}
            _update(connection, check_id, token, state="waiting", **columns)

    def fail(self, check_id: int, token: int, reason: str) -> None:
        """Close the request without a result: trying again would fail again. `failure` tells the reason.

        Raises:
            LeaseLost: somebody else has the check, or it is done.
        """
        with self._database.write() as connection:
            told = clip(reason, REASON_CHARS)
            _update(connection, check_id, token, state="failed", reason=told, finished_at=self._clock())

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

    def finish(self, check_id: int, token: int, results: Sequence[CheckResult]) -> None:
        """Close the request and keep its results, in one transaction.

        Raises:
            LeaseLost: somebody else has the check, or it is done; no result is kept.
        """
        with self._database.write() as connection:
            _update(connection, check_id, token, state="done", finished_at=self._clock())
            if results:
                connection.execute(
                    insert(check_results),
                    [
                        {
                            "check_id": check_id,
                            "suite": result.suite,
                            "generation": result.generation,
                            "at": result.at,
                            "passed": result.passed,
                            "scores": dict(result.scores),
                            "probes": result.probes,
                        }
                        for result in results
                    ],
                )

    def latest(self) -> list[CheckResult]:
        """The newest result of each suite, by suite."""
        newest = select(func.max(check_results.c.id)).group_by(check_results.c.suite)
        query = select(check_results).where(check_results.c.id.in_(newest)).order_by(check_results.c.suite)
        with self._database.read() as connection:
            return [_to_result(row) for row in connection.execute(query)]

    def results(self, limit: int) -> list[CheckResult]:
        """The last results, the newest first."""
        query = select(check_results).order_by(check_results.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_to_result(row) for row in connection.execute(query)]

    def baseline(self, suite_digest: str, base_hash: str) -> Any | None:
        """What the bare base answered to this suite, as it was stored; None: not yet."""
        query = select(baselines.c.body).where(
            baselines.c.suite_digest == suite_digest, baselines.c.base_hash == base_hash
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def store_baseline(self, suite_digest: str, base_hash: str, body: Any, *, suite: str) -> None:
        """Keep the bare base's answers (any JSON value); the first ones for a digest stay.

        Of one suite the newest `KEPT_BASELINES` are kept: older ones belong to probes that changed since.
        """
        with self._database.write() as connection:
            lock_head(connection)
            known = select(baselines.c.suite_digest).where(
                baselines.c.suite_digest == suite_digest, baselines.c.base_hash == base_hash
            )
            if connection.execute(known).one_or_none() is None:
                row = {"suite_digest": suite_digest, "base_hash": base_hash, "suite": suite, "body": body}
                connection.execute(insert(baselines).values(**row, created_at=self._clock()))
                _forget_old_baselines(connection, suite, base_hash, keep=suite_digest)


def _update(connection: Connection, check_id: int, token: int, **columns: Any) -> None:
    changed = connection.execute(
        update(checks)
        .where(checks.c.id == check_id, checks.c.token == token, checks.c.state == "leased")
        .values(**columns)
    ).rowcount
    if changed != 1:
        raise LeaseLost(f"the lease of check {check_id} is lost: another worker has it, or it is done")


def _give_up_on_hopeless(connection: Connection, at: datetime) -> None:
    hopeless = (CHECK_IS_OPEN, checks.c.free_at <= at, checks.c.attempts >= MAX_ATTEMPTS)
    told = f"{MAX_ATTEMPTS} workers died or were lost while they ran it"
    connection.execute(
        update(checks).where(*hopeless).values(state="failed", reason=told, finished_at=at, worker=None)
    )


def _forget_old_baselines(connection: Connection, suite: str, base_hash: str, *, keep: str) -> None:
    of_suite = (baselines.c.suite == suite, baselines.c.base_hash == base_hash)
    older = select(baselines.c.suite_digest).where(*of_suite, baselines.c.suite_digest != keep)
    order = (baselines.c.created_at.desc(), baselines.c.suite_digest)
    gone = connection.execute(older.order_by(*order).offset(KEPT_BASELINES - 1)).scalars().all()
    connection.execute(delete(baselines).where(*of_suite, baselines.c.suite_digest.in_(gone)))


def _to_result(row: Row[Any]) -> CheckResult:
    return CheckResult(
        suite=row.suite,
        generation=row.generation,
        at=row.at,
        passed=row.passed,
        scores=row.scores,
        probes=row.probes,
    )
