"""What the ledger knows about checks and generations, as the report's page tells it."""

from collections.abc import Callable
from datetime import datetime

from daemon.checks.suite_result import floor_of
from daemon.ledger import Ledger
from daemon.ledger.values import CheckResult
from daemon.settings.settings import Settings
from monitoring.checks.parity import PARITY
from monitoring.checks.report import Point, Report, Step
from monitoring.checks.tally import RETENTION

MAX_RESULTS = 2_000  # of all suites together
MAX_POINTS = 120  # of one suite: a plot shows no more
MAX_GENERATIONS = 30


def check_report(
    ledger: Ledger,
    *,
    clock: Callable[[], datetime],
    settings: Settings | None = None,
    max_results: int = MAX_RESULTS,
) -> Report:
    """The newest checks of every suite, with the failing probes of each one's newest; the floors are those of `settings`."""
    head = ledger.generations.newest()
    suites: dict[str, list[Point]] = {}
    for result in ledger.checks.results(max_results):  # the newest first
        points = suites.setdefault(result.suite, [])
        if len(points) < MAX_POINTS:
            points.append(_point(result))
    steps = ledger.timeline.page(limit=MAX_GENERATIONS).generations
    return Report(
        made_at=clock(),
        base_hash=head.base_hash if head is not None else "",
        suites={name: points[::-1] for name, points in sorted(suites.items())},
        worst=ledger.checks.worst(),
        generations=[Step(step.number, step.created_at, step.cause) for step in steps],
        held=ledger.control.held(),
        floors={} if settings is None else {name: floor_of(name, settings) for name in suites},
    )


def _point(result: CheckResult) -> Point:
    main = {RETENTION: "retention", PARITY: "agreement"}.get(result.suite, "locality")
    return Point(
        generation=result.generation,
        at=result.at,
        passed=result.passed,
        probes=result.probes,
        share=result.scores.get(main),
        low=result.scores.get(f"{main}_low"),
        high=result.scores.get(f"{main}_high"),
        scores=result.scores,
    )
