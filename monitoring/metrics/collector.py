"""Turn what the ledger says into metrics when Prometheus asks, so that no process has to keep them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from edits.errors import TemporaryError
from monitoring.metrics import state_metrics
from monitoring.metrics.state_metrics import StateMetric

Family = GaugeMetricFamily | CounterMetricFamily
Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class SuiteFigures:
    """The newest check of one suite; a score that is missing or None is not exported."""

    passed: bool
    at: datetime
    probes: int
    scores: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """The batches of one lane and state that are not done."""

    lane: str
    state: str
    count: int
    oldest: datetime  # when the one that waits longest was planned


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """What the ledger knows at one moment, as far as it is exported."""

    edits: Mapping[str, int]  # by state
    generation: int | None
    base_hash: str | None
    rollbacks: int = 0
    batches: tuple[BatchFigures, ...] = ()
    suites: Mapping[str, SuiteFigures] = field(default_factory=dict)
    failed_suites: Mapping[str, SuiteFigures] = field(
        default_factory=dict
    )  # the newest check of each that failed
    parity: SuiteFigures | None = None  # the newest comparison of the gateway's answers with those in process
    check_failures: Mapping[str, int] = field(default_factory=dict)  # by suite, also those that never failed
    job_last_success: Mapping[str, datetime] = field(default_factory=dict)
    regression_last_success: datetime | None = None
    held: bool = False
    workers: int = 0


class LedgerCollector(Collector):
    """Exports `STATE_METRICS`; a ledger that cannot be read shows as `upkeep_ledger_up 0`, not as an error."""

    def __init__(
        self,
        read: Callable[[], LedgerFigures],
        *,
        check_interval_seconds: float,
        parity_interval_seconds: float | None = None,
    ) -> None:
        """
        Args:
            parity_interval_seconds: None: no gateway is compared, and nothing is exported about one.
        """
        self._read = read
        self._check_interval_seconds = check_interval_seconds
        self._parity_interval_seconds = parity_interval_seconds

    def collect(self) -> Iterator[Family]:
        """Read the ledger once and yield one family per metric that has a value."""
        yield _family(state_metrics.CHECK_INTERVAL, [((), self._check_interval_seconds)])
        if self._parity_interval_seconds is not None:
            yield _family(state_metrics.PARITY_INTERVAL, [((), self._parity_interval_seconds)])
        try:
            figures = self._read()
        except TemporaryError:
            yield _family(state_metrics.LEDGER_UP, [((), 0)])
            return
        yield _family(state_metrics.LEDGER_UP, [((), 1)])
        parity = None if self._parity_interval_seconds is None else figures.parity
        checks = (*_checks(figures), *_failed_checks(figures))
        for metric, samples in (*_state(figures), *_collected(checks).items(), *_parity(parity)):
            if samples:
                yield _family(metric, samples)


def _state(figures: LedgerFigures) -> Iterator[tuple[StateMetric, list[Sample]]]:
    """How the work stands."""
    yield state_metrics.EDITS, [((state,), count) for state, count in figures.edits.items()]
    open_ones = [((batches.lane, batches.state), batches) for batches in figures.batches]
    yield state_metrics.BATCHES_OPEN, [(labels, batches.count) for labels, batches in open_ones]
    yield state_metrics.BATCH_OLDEST, [(labels, batches.oldest.timestamp()) for labels, batches in open_ones]
    if figures.generation is not None:
        yield state_metrics.GENERATION_INFO, [((str(figures.generation), figures.base_hash or ""), 1)]
        yield state_metrics.GENERATION_NUMBER, [((), figures.generation)]
    yield state_metrics.ROLLBACKS, [((), figures.rollbacks)]
    yield state_metrics.CHECK_FAILURES, [((suite,), count) for suite, count in figures.check_failures.items()]
    yield (
        state_metrics.JOB_LAST_SUCCESS,
        [((job,), at.timestamp()) for job, at in figures.job_last_success.items()],
    )
    if figures.regression_last_success is not None:
        yield state_metrics.REGRESSION_LAST_SUCCESS, [((), figures.regression_last_success.timestamp())]
    yield state_metrics.HOLD, [((), float(figures.held))]
    yield state_metrics.WORKERS, [((), figures.workers)]


def _checks(figures: LedgerFigures) -> Iterator[tuple[StateMetric, Sample]]:
    """What the newest check of each suite found."""
    for name, suite in figures.suites.items():
        yield state_metrics.CHECK_PASSED, ((name,), float(suite.passed))
        yield state_metrics.CHECK_PROBES, ((name,), suite.probes)
        yield state_metrics.CHECK_TIMESTAMP, ((name,), suite.at.timestamp())
        yield from _scores(name, suite)


def _failed_checks(figures: LedgerFigures) -> Iterator[tuple[StateMetric, Sample]]:
    """What the newest check of each suite that failed had found."""
    for name, suite in figures.failed_suites.items():
        for metric, sample in _scores(name, suite):
            if (failed := state_metrics.FAILED_SCORES.get(metric)) is not None:
                yield failed, sample


def _scores(name: str, suite: SuiteFigures) -> Iterator[tuple[StateMetric, Sample]]:
    for key, value in suite.scores.items():
        if value is None:
            continue
        if (metric := state_metrics.SUITE_SCORES.get(key)) is not None:
            yield metric, ((name,), value)
        elif (known := state_metrics.RETENTION_SCORES.get(key)) is not None:
            yield known[0], (known[1], value)


def _collected(found: Iterable[tuple[StateMetric, Sample]]) -> Mapping[StateMetric, list[Sample]]:
    """The samples of each metric together."""
    together: dict[StateMetric, list[Sample]] = {}
    for metric, sample in found:
        together.setdefault(metric, []).append(sample)
    return together


def _parity(newest: SuiteFigures | None) -> Iterator[tuple[StateMetric, list[Sample]]]:
    """What the newest comparison with the gateway found."""
    if newest is None:
        return
    yield state_metrics.PARITY_PASSED, [((), float(newest.passed))]
    yield state_metrics.PARITY_PROMPTS, [((), newest.probes)]
    yield state_metrics.PARITY_TIMESTAMP, [((), newest.at.timestamp())]
    yield state_metrics.PARITY_UNMEASURED, [((), newest.scores.get("unmeasured") or 0.0)]
    shares = {form: newest.scores.get(key) for key, form in state_metrics.PARITY_SCORES.items()}
    yield state_metrics.PARITY, [((form,), share) for form, share in shares.items() if share is not None]


def _family(metric: StateMetric, samples: list[Sample]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
