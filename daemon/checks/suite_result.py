"""A suite that was asked is judged against its floor and against its own past."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from daemon.checks.check_context import CheckContext
from daemon.ledger.values import CheckResult
from daemon.settings.settings import Settings
from monitoring.checks.drift import Drift, DriftSettings, Seen, drift
from monitoring.checks.parity import PARITY
from monitoring.checks.tally import RETENTION, Failure, ProbeTally, RetentionTally, Scores, Share


class SuiteResult(BaseModel):
    """One suite of a check, asked and judged.

    Attributes:
        probes: how many were asked.
        baseline: what it may be compared by with other results (`check_suites.baseline_of`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    at: datetime
    passed: bool
    probes: int
    baseline: str
    scores: Scores
    failures: tuple[Failure, ...]


def judge(
    suite: str, baseline: str, tally: ProbeTally | RetentionTally, check: CheckContext, *, whole: bool
) -> SuiteResult | None:
    """The result of a suite; None where nothing was asked. `whole`: everything that there is was asked."""
    good, scores, settings = tally.good, tally.scores(), check.settings
    if not good.asked:
        return None
    floor = floor_of(suite, settings)
    perplexity = scores.get("perplexity_ratio")
    calm = perplexity is None or perplexity <= settings.monitoring.perplexity_ceiling
    moved = _drift(suite, baseline, good, check)
    alarm = moved is not None and moved.alarm
    drifted = {"drift": None if moved is None else moved.statistic, "drift_alarm": float(alarm)}
    return SuiteResult(
        suite=suite,
        at=check.clock(),
        passed=_holds(good, floor, whole=whole) and calm and not alarm,
        probes=good.asked,
        baseline=baseline,
        scores={**scores, **drifted},
        failures=tally.failures,
    )


def floor_of(suite: str, settings: Settings) -> float:
    """The share under which a suite's check fails."""
    if suite == PARITY:
        return settings.gateway.parity_floor
    return settings.verify.retention_floor if suite == RETENTION else settings.monitoring.locality_floor


def _holds(good: Share, floor: float, *, whole: bool) -> bool:
    """Of all probes the share itself must hold the floor; of a sample, what it may be within its error."""
    _, high = good.interval()
    return (good.hits / good.asked if whole else high or 0.0) >= floor


def _drift(suite: str, baseline: str, good: Share, check: CheckContext) -> Drift | None:
    monitoring = check.settings.monitoring
    chosen = DriftSettings(monitoring.drift_shift, monitoring.drift_threshold, monitoring.drift_window)
    past = check.ledger.checks.trail(suite, baseline, chosen.window)
    return drift(Seen(good.asked, good.asked - good.hits), [_seen(result) for result in past], chosen)


def _seen(result: CheckResult) -> Seen:
    share = result.scores.get("retention" if result.suite == RETENTION else "locality") or 0.0
    return Seen(result.probes, round((1 - share) * result.probes), result.scores.get("drift"))
