"""Checks: every suite over the generations, what failed and which edit is to blame, and the alerts that fire now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.checks.check_report import check_report
from daemon.console.sources.background import BackgroundReading
from daemon.console.sources.prometheus import Alerts, firing_alerts
from daemon.console.web.visits import Page, PageRoute, Visit
from daemon.ledger import Ledger
from daemon.ledger.errors import NotInLedger
from daemon.ledger.values import Edit, EditState
from daemon.settings.settings import Settings
from monitoring.checks.report import Point, asked_words, share_words
from monitoring.checks.share_plot import SharePlot, share_plot
from monitoring.checks.tally import Failure

DASHBOARDS = (
    ("Overview", "upkeep-overview"),
    ("Editing", "upkeep-editing"),
    ("Locality and drift", "upkeep-locality"),
)
MAX_RESULTS = 200  # of all suites together: a page costs the same however many checks there were
MAX_FAILURES = 20  # of a suite


@dataclass(frozen=True, slots=True)
class FailingProbe:
    """A probe that failed, and the edit that gave its answer as it stands now."""

    failure: Failure
    edit: Edit | None

    @property
    def is_blamed(self) -> bool:
        """A check has found this edit to be the cause."""
        return self.edit is not None and self.edit.state is EditState.QUARANTINED


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite as the page shows it."""

    name: str
    points: Sequence[Point]
    plot: SharePlot | None
    words: str
    asks: str
    floor: float | None
    drift_alarm_at: float
    failing: Sequence[FailingProbe]

    @property
    def newest(self) -> Point:
        """The newest check."""
        return self.points[-1]


class ChecksPages:
    """Reads the ledger's checks, and the alerts of a Prometheus that the settings name."""

    def __init__(self, ledger: Ledger, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        prometheus = settings.console.prometheus
        self._firing = (
            BackgroundReading(lambda: firing_alerts(prometheus)) if prometheus is not None else None
        )

    def routes(self) -> list[PageRoute]:
        """Every page of this part."""
        return [PageRoute("/checks", self.checks)]

    def checks(self, visit: Visit) -> Page:
        """All suites, or one."""
        report = check_report(
            self._ledger, clock=self._clock, settings=self._settings, max_results=MAX_RESULTS
        )
        wanted = visit.asked("suite")
        suites = [
            self._suite(name, points, report.worst.get(name, ()), report.floors.get(name))
            for name, points in report.suites.items()
            if points and wanted in ("", name)
        ]
        values = {
            "suites": suites,
            "wanted": wanted,
            "failure": self._ledger.checks.failure(),
            "alerts": self._alerts(),
            "dashboards": self._dashboards(),
            "on_failure": self._settings.monitoring.on_failure,
        }
        return Page("checks.html", values)

    def _suite(
        self, name: str, points: Sequence[Point], failures: Sequence[Failure], floor: float | None
    ) -> Suite:
        fired = self._edits([failure.fired for failure in failures[:MAX_FAILURES]])
        return Suite(
            name=name,
            points=points,
            plot=share_plot(points, floor),
            words=share_words(name),
            asks=asked_words(name),
            floor=floor,
            drift_alarm_at=self._settings.monitoring.drift_threshold,
            failing=[
                FailingProbe(failure, fired.get(failure.fired or "")) for failure in failures[:MAX_FAILURES]
            ],
        )

    def _edits(self, ids: Sequence[str | None]) -> Mapping[str, Edit]:
        found: dict[str, Edit] = {}
        for edit_id in dict.fromkeys(ids):
            if edit_id is None or not edit_id.isdecimal():
                continue
            try:
                found[edit_id] = self._ledger.audit.edit(edit_id)
            except NotInLedger:
                continue
        return found

    def _alerts(self) -> Alerts | None:
        if self._firing is None:
            return None
        return self._firing.latest() or Alerts(problem="Prometheus has not answered yet")

    def _dashboards(self) -> list[tuple[str, str]]:
        grafana = self._settings.console.grafana
        if grafana is None:
            return []
        return [(title, f"{grafana.rstrip('/')}/d/{uid}") for title, uid in DASHBOARDS]
