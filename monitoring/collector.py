"""Turn what the ledger says into metrics when Prometheus asks, so that no process has to keep them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from editors.errors import TemporaryError
from monitoring import metrics
from monitoring.metrics import StateGauge

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class SuiteFigures:
    """The newest check of one suite; a score that the suite does not have is None and is not exported."""

    passed: bool
    locality: float | None = None
    locality_low: float | None = None
    locality_high: float | None = None
    false_fire: float | None = None
    retention: float | None = None


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """What the ledger knows at one moment, as far as it is exported."""

    edits: Mapping[str, int]  # by state
    generation: int | None
    base_hash: str | None
    suites: Mapping[str, SuiteFigures] = field(default_factory=dict)
    job_last_success: Mapping[str, datetime] = field(default_factory=dict)
    regression_last_success: datetime | None = None
    held: bool = False
    workers: int = 0


class LedgerCollector(Collector):
    """Exports `STATE_GAUGES`; a ledger that cannot be read shows as `upkeep_ledger_up 0`, not as an error."""

    def __init__(self, read: Callable[[], LedgerFigures]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the ledger once and yield one family per state gauge that has a value."""
        try:
            figures = self._read()
        except TemporaryError:
            yield _family(metrics.LEDGER_UP, [((), 0)])
            return
        yield _family(metrics.LEDGER_UP, [((), 1)])
        for gauge, samples in _samples(figures):
            if samples:
                yield _family(gauge, samples)


def _samples(figures: LedgerFigures) -> Iterator[tuple[StateGauge, list[Sample]]]:
    yield metrics.EDITS, [((state,), count) for state, count in figures.edits.items()]
    if figures.generation is not None:
        yield metrics.GENERATION_INFO, [((str(figures.generation), figures.base_hash or ""), 1)]
    suites = figures.suites.items()
    yield metrics.LOCALITY, _known((name, suite.locality) for name, suite in suites)
    yield metrics.LOCALITY_LOW, _known((name, suite.locality_low) for name, suite in suites)
    yield metrics.LOCALITY_HIGH, _known((name, suite.locality_high) for name, suite in suites)
    yield metrics.FALSE_FIRE, _known((name, suite.false_fire) for name, suite in suites)
    yield metrics.CHECK_PASSED, [((name,), float(suite.passed)) for name, suite in suites]
    yield metrics.RETENTION, [((), suite.retention) for _, suite in suites if suite.retention is not None]
    yield metrics.JOB_LAST_SUCCESS, [((job,), at.timestamp()) for job, at in figures.job_last_success.items()]
    if figures.regression_last_success is not None:
        yield metrics.REGRESSION_LAST_SUCCESS, [((), figures.regression_last_success.timestamp())]
    yield metrics.HOLD, [((), float(figures.held))]
    yield metrics.WORKERS, [((), figures.workers)]


def _known(values: Iterator[tuple[str, float | None]]) -> list[Sample]:
    return [((name,), value) for name, value in values if value is not None]


def _family(gauge: StateGauge, samples: list[Sample]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
