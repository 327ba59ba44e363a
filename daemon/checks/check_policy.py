"""What follows from a check's results, as `monitoring.on_failure` says: nothing, a hold, or a rollback."""

from collections.abc import Mapping, Sequence
from typing import Literal

import structlog

from daemon.checks.blame import Case, open_case
from daemon.checks.hold import ACTOR, hold, is_held_by_checks
from daemon.ledger import Ledger
from daemon.ledger.values import CheckResult
from daemon.settings.settings import Settings
from monitoring.checks.parity import PARITY, ParityOutcome
from monitoring.checks.tally import Failure

MAX_RESULTS = 2_000  # how far back a generation that passed is looked for

CheckOutcome = (
    Literal["passed", "observed", "held", "rolled back", "blame settled", "nobody is to blame", "paused"]
    | ParityOutcome
)

_log = structlog.get_logger(__name__)


def apply_policy(
    ledger: Ledger,
    settings: Settings,
    results: Sequence[CheckResult],
    *,
    failures: Mapping[str, Sequence[Failure]] | None = None,
) -> CheckOutcome:
    """Do what `monitoring.on_failure` says about these results, in the ledger or about to be; doing it twice is harmless.

    Rolls back to the newest earlier generation whose newest results all passed, those of each suite that failed
    now among them, and only while an edit published since then is still live; where no such generation is known,
    batches are held instead. Unless failures are only observed, a case is opened against the edits published since.
    While batches are held because of an earlier failure, that one waits for somebody to look, and so does this.
    """
    failed = [result for result in results if not result.passed]
    if not failed:
        return "passed"
    which = ", ".join(f"{result.suite} of generation {result.generation}" for result in failed)
    policy = settings.monitoring.on_failure
    _log.error("a regression check failed", failed=which, policy=policy)
    if policy == "observe":
        return "observed"
    if is_held_by_checks(ledger):
        return "held"
    bad, cause = failed[0].generation, f"regression failed: {which}"
    good = _last_good(
        ledger.checks.results(MAX_RESULTS), before=bad, suites={result.suite for result in failed}
    )
    rolled_back = None
    if policy == "rollback" and good is not None:
        if not ledger.generations.has_live(after=good, upto=bad):
            return "observed"  # what was published since was taken back since the check began
        rolled_back = ledger.generations.rollback_to(good, cause=cause, actor=ACTOR).number
        _log.warning("rolled back", to_generation=good, new_generation=rolled_back)
    else:
        hold(ledger, cause)
    evidence = {result.suite: tuple((failures or {}).get(result.suite, ())) for result in failed}
    case = Case(bad=bad, good=good or 0, rolled_back=rolled_back, evidence=evidence)
    if not open_case(ledger, case, cause=cause) and rolled_back is not None:
        ledger.control.hold(
            f"{cause}; there is no failing answer to find the culprits by: somebody has to look", actor=ACTOR
        )
    return "held" if rolled_back is None else "rolled back"


def _last_good(results: Sequence[CheckResult], *, before: int, suites: set[str]) -> int | None:
    """The newest generation below `before` that was asked all of `suites` and whose newest results all passed."""
    verdicts: dict[int, dict[str, bool]] = {}
    for result in results:  # the newest first
        if result.generation < before and result.suite != PARITY:  # which judges the gateway, no generation
            verdicts.setdefault(result.generation, {}).setdefault(result.suite, result.passed)
    good = (number for number, asked in verdicts.items() if suites <= asked.keys() and all(asked.values()))
    return max(good, default=None)
