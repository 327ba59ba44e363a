"""A claimed check from its first step to its outcome.

    work_on_check -> CheckRun.step (check_states) -> results -> apply_policy -> open_case
    of the kind "blame": work_on_case (blame) -> culprits quarantined, the others live again
    of the kind "parity": work_on_parity (parity/) -> the gateway's answers beside those in process

It is worked on in slices, so that urgent batches never wait for it; what it finds is persisted.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from daemon.checks.blame import Case, work_on_case
from daemon.checks.check_context import CheckContext
from daemon.checks.check_policy import CheckOutcome, apply_policy
from daemon.checks.check_run import CheckRun
from daemon.checks.check_suites import lacks_far
from daemon.checks.parity.parity_run import work_on_parity
from daemon.ledger import Ledger
from daemon.ledger.values import CheckKind, CheckResult, ClaimedCheck
from daemon.settings.settings import Settings
from monitoring.checks.regression import AnswersPrompts

_log = structlog.get_logger(__name__)


def work_on_check(
    ledger: Ledger,
    settings: Settings,
    model: AnswersPrompts,
    claimed: ClaimedCheck,
    *,
    clock: Callable[[], datetime],
    time_is_up: Callable[[], bool] = lambda: False,
) -> tuple[list[CheckResult], CheckOutcome]:
    """Work on a claimed check until it is done or the time is up; at least one step is taken.

    When the time is up, what is done is persisted and the check released ("paused"): any worker may go on with it.
    Otherwise what must follow is done, and its results are persisted.

    Raises:
        BadSuite: the suite is unknown or its probe file cannot be read; or a suite has a name that it cannot have.
        LeaseLost: somebody else has the check by now; nothing of this slice was persisted.
        TemporaryError: the ledger or the device is unwell.
    """
    if claimed.kind is CheckKind.BLAME:
        return [], _blame(ledger, settings, model, claimed, time_is_up)
    check = CheckContext(ledger, settings, model, claimed, clock=clock)
    if claimed.kind is CheckKind.PARITY:
        compared, found = work_on_parity(check, time_is_up=time_is_up)
        return ([] if compared is None else [compared]), found
    run = CheckRun(check)
    if not _steps(run, model, time_is_up):
        ledger.checks.pause(claimed.id, claimed.token, run.progress.model_dump(mode="json"))
        return [], "paused"
    results = run.results()
    if claimed.suite is None and lacks_far(results):
        _log.warning(
            "no far probe was asked",
            consequence="the check does not say whether unrelated prompts are answered as before: set monitoring.suites.far",
        )
    checks = ledger.checks
    # Nothing follows from a check that is somebody else's by now. What must follow comes first: a check that is done is
    # claimed by nobody, and a kill in between would lose its consequence.
    checks.heartbeat(claimed.id, claimed.token, lease_seconds=settings.worker.lease_seconds)
    outcome = apply_policy(ledger, settings, results, failures=run.failures())
    checks.finish(claimed.id, claimed.token, results, worst=run.worst())
    return results, outcome


def run_checks(
    ledger: Ledger,
    settings: Settings,
    model: AnswersPrompts,
    *,
    suite: str | None = None,
    full: bool = False,
    clock: Callable[[], datetime],
) -> list[CheckResult]:
    """Check the generation that `model` serves at once, and persist nothing but the base's answers.

    One result per suite that has something to ask. With `suite` only that one. Without, a probe file that cannot be
    read costs its own suite, with an error in the log, and no other.

    Raises:
        BadSuite: as `work_on_check`.
        TemporaryError: the ledger or the device is unwell.
    """
    kind = CheckKind.FULL if full else CheckKind.SAMPLE
    claimed = ClaimedCheck(0, suite, 0, kind)
    run = CheckRun(CheckContext(ledger, settings, model, claimed, clock=clock))
    _steps(run, model, lambda: False)
    return run.results()


def _steps(run: CheckRun, model: AnswersPrompts, time_is_up: Callable[[], bool]) -> bool:
    """Take steps until there is none left (True) or the time is up."""
    with model.at(run.progress.generation):
        while run.step():
            if time_is_up():
                return False
    return True


def _blame(
    ledger: Ledger,
    settings: Settings,
    model: AnswersPrompts,
    claimed: ClaimedCheck,
    time_is_up: Callable[[], bool],
) -> CheckOutcome:
    case = Case.model_validate(claimed.progress)
    after = work_on_case(case, ledger, model, max_new_tokens=settings.model.max_new_tokens, stop=time_is_up)
    if isinstance(after, Case):
        ledger.checks.pause(claimed.id, claimed.token, after.model_dump(mode="json"))
        return "paused"
    if after:
        ledger.checks.request(None, "after blame")  # is it well now?
    ledger.checks.finish(claimed.id, claimed.token, [])
    return "blame settled" if after else "nobody is to blame"
