"""The locality regression: is everything that was not edited as it was, and everything edited as it was told?

A claimed check is worked on in slices (`work_on_check`), so that urgent batches never wait for it; what it finds is kept,
and `monitoring.on_failure` says what follows. Where a generation is found to do harm, `checks.bisection` looks for the edits
that did it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import structlog

from daemon.checks.bisection import Case, hold, is_held_by_checks, open_case, work_on_case
from daemon.checks.check_run import CheckRun
from daemon.ledger import Ledger
from daemon.ledger.values import CheckKind, CheckResult, ClaimedCheck
from daemon.process.settings import Settings
from monitoring.regression import AnswersPrompts
from monitoring.tally import Failure

REMEMBERED_RESULTS = 2_000  # how far back a generation that passed is looked for

Outcome = Literal[
    "passed", "observed", "held", "rolled back", "blame settled", "nobody is to blame", "paused"
]

_log = structlog.get_logger(__name__)


def work_on_check(
    ledger: Ledger,
    settings: Settings,
    model: AnswersPrompts,
    claimed: ClaimedCheck,
    *,
    clock: Callable[[], datetime],
    time_is_up: Callable[[], bool] = lambda: False,
) -> tuple[list[CheckResult], Outcome]:
    """Work on a claimed check until it is done or the time is up; at least one step is taken.

    When the time is up, what is done is stored and the check given back ("paused"): any worker may go on with it.
    Otherwise its results are kept, and what must follow is done.

    Raises:
        BadSuite: the suite is unknown or its probe file cannot be read; or a suite has a name that it cannot have.
        LeaseLost: somebody else has the check by now; nothing of this slice was kept.
        TemporaryError: the ledger or the device is unwell.
    """
    if claimed.kind is CheckKind.BLAME:
        return [], _blame(ledger, settings, model, claimed, time_is_up)
    run = CheckRun(ledger, settings, model, claimed, clock=clock)
    if not _steps(run, model, time_is_up):
        ledger.checks.pause(claimed.id, claimed.token, run.progress.model_dump(mode="json"))
        return [], "paused"
    results = run.results()
    ledger.checks.finish(claimed.id, claimed.token, results, worst=run.worst())
    return results, apply_policy(ledger, settings, results, failures=run.failures())


def run_checks(
    ledger: Ledger,
    settings: Settings,
    model: AnswersPrompts,
    *,
    suite: str | None = None,
    full: bool = False,
    clock: Callable[[], datetime],
) -> list[CheckResult]:
    """Check the generation that `model` serves at once, and keep nothing but the base's answers.

    One result per suite that has something to ask. With `suite` only that one. Without, a probe file that cannot be
    read costs its own suite, with an error in the log, and no other.

    Raises:
        BadSuite: as `work_on_check`.
        TemporaryError: the ledger or the device is unwell.
    """
    kind = CheckKind.FULL if full else CheckKind.SAMPLE
    run = CheckRun(ledger, settings, model, ClaimedCheck(0, suite, 0, kind), clock=clock)
    _steps(run, model, lambda: False)
    return run.results()


def apply_policy(
    ledger: Ledger,
    settings: Settings,
    results: Sequence[CheckResult],
    *,
    failures: Mapping[str, Sequence[Failure]] | None = None,
) -> Outcome:
    """Do what `monitoring.on_failure` says about these results, which the ledger already has.

    Rolls back to the newest earlier generation whose newest results all passed, those of each suite that failed
    now among them, and only while an edit published since then is still live; where no such generation is known,
    batches are held instead. Unless failures are only observed, a case is opened against the edits published since.
    While batches are held because of an earlier failure, that one waits for somebody to look, and so does this.
    """
    failed = [result for result in results if not result.passed]
    if not failed:
        return "passed"
    said = ", ".join(f"{result.suite} of generation {result.generation}" for result in failed)
    policy = settings.monitoring.on_failure
    _log.error("a regression check failed", failed=said, policy=policy)
    if policy == "observe":
        return "observed"
    if is_held_by_checks(ledger):
        return "held"
    bad, cause = failed[0].generation, f"regression failed: {said}"
    good = _last_good(
        ledger.checks.results(REMEMBERED_RESULTS), before=bad, suites={result.suite for result in failed}
    )
    rolled_back = None
    if policy == "rollback" and good is not None:
        if not _is_live(ledger, good, bad):
            return "observed"  # what was published since was taken back since the check began
        rolled_back = ledger.generations.rollback_to(good, cause=cause).number
        _log.warning("rolled back", to_generation=good, new_generation=rolled_back)
    else:
        hold(ledger, cause)
    evidence = {result.suite: tuple((failures or {}).get(result.suite, ())) for result in failed}
    case = Case(bad=bad, good=good or 0, rolled_back=rolled_back, evidence=evidence)
    if not open_case(ledger, case, cause=cause) and rolled_back is not None:
        ledger.control.hold(
            f"{cause}; there is no failing answer to find the culprits by: somebody has to look"
        )
    return "held" if rolled_back is None else "rolled back"


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
) -> Outcome:
    case = Case.model_validate(claimed.progress)
    after = work_on_case(case, ledger, model, max_new_tokens=settings.model.max_new_tokens, stop=time_is_up)
    if isinstance(after, Case):
        ledger.checks.pause(claimed.id, claimed.token, after.model_dump(mode="json"))
        return "paused"
    ledger.checks.finish(claimed.id, claimed.token, [])
    if not after:
        return "nobody is to blame"
    ledger.checks.request(None, "after blame")  # is it well now?
    return "blame settled"


def _last_good(results: Sequence[CheckResult], *, before: int, suites: set[str]) -> int | None:
    """The newest generation below `before` that was asked all of `suites` and whose newest results all passed."""
    verdicts: dict[int, dict[str, bool]] = {}
    for result in results:  # the newest first
        if result.generation < before:
            verdicts.setdefault(result.generation, {}).setdefault(result.suite, result.passed)
    good = (number for number, asked in verdicts.items() if suites <= asked.keys() and all(asked.values()))
    return max(good, default=None)


def _is_live(ledger: Ledger, good: int, bad: int) -> bool:
    """Whether an edit that went live after `good` and was live in `bad` is live now."""
    switched_on: set[str] = set()
    for generation in ledger.generations.since(good):
        if generation.number <= bad:
            switched_on |= generation.enabled.keys()
    ids: list[Any] = sorted(int(edit_id) for edit_id in switched_on)
    return any(ledger.generations.live_among(ids[start : start + 500]) for start in range(0, len(ids), 500))
