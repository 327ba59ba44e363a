"""Every metric that Upkeep exports, declared in one place.

Two families: what a running process counts itself (`Metrics`), and what is read from the ledger at each
scrape (`STATE_GAUGES`, filled by `monitoring.collector`). No label grows with edits, subjects or offsets.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

# The outcome names of the ledger, repeated because monitoring may not import daemon.
FACT_EVENT_OUTCOMES = ("accepted", "duplicate", "dead_lettered")

# From "the urgent lane took it" (seconds) over "the next nightly run" (a day) to "it waited a weekend".
EDIT_LATENCY_BUCKETS_SECONDS = (
    *(1, 2, 5, 10, 30),
    *(60, 120, 300, 600, 1_800),
    *(3_600, 7_200, 14_400, 28_800, 43_200),
    *(86_400, 172_800, 604_800),
)
BATCH_DURATION_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600)
REQUEST_DURATION_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters, histograms and gauges of one process, registered in the registry it is given.

    Works alone and in prometheus_client's multiprocess mode (`PROMETHEUS_MULTIPROC_DIR` set before the
    process starts): there, `exposed_registry` gives what to expose.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.fact_events = Counter(
            "upkeep_fact_events_total",
            "Kafka records consumed, by what became of them (accepted, duplicate, dead_lettered).",
            ["outcome"],
            registry=registry,
        )
        # Exported as 0 from the start, so that rate() sees the first event of each kind.
        for outcome in FACT_EVENT_OUTCOMES:
            self.fact_events.labels(outcome)
        # When a partition moves to another consumer the newest value wins and the old one need not go.
        self.consumer_lag = Gauge(
            "upkeep_consumer_lag_records",
            "Records of a partition that the consumer group has not yet committed.",
            ["topic", "partition"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.batch_duration = Histogram(
            "upkeep_edit_batch_duration_seconds",
            "Time that one batch of edits spent in one stage (such as train, verify, publish).",
            ["editor", "stage"],
            registry=registry,
            buckets=BATCH_DURATION_BUCKETS_SECONDS,
        )
        self.batches = Counter(
            "upkeep_edit_batches_total",
            "Batches of edits that a worker ended, by editor and by how they ended.",
            ["editor", "outcome"],
            registry=registry,
        )
        self.edit_latency = Histogram(
            "upkeep_edit_latency_seconds",
            "Time from the moment a fact changed (occurred_at) to the moment its edit went live.",
            registry=registry,
            buckets=EDIT_LATENCY_BUCKETS_SECONDS,
        )
        self.serve_requests = Counter(
            "upkeep_serve_requests_total",
            "HTTP requests answered by the serving API, by route template and status code.",
            ["route", "status"],
            registry=registry,
        )
        self.serve_duration = Histogram(
            "upkeep_serve_request_duration_seconds",
            "Time to answer one HTTP request of the serving API, by route template.",
            ["route"],
            registry=registry,
            buckets=REQUEST_DURATION_BUCKETS_SECONDS,
        )
        self.job_runs = Counter(
            "upkeep_job_runs_total",
            "Scheduled jobs that this process ran, by job and outcome (succeeded, failed).",
            ["job", "outcome"],
            registry=registry,
        )

    def event(self, outcome: str, count: int) -> None:
        """`count` more records had this outcome."""
        self.fact_events.labels(outcome).inc(count)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """So many records of a partition are not yet committed."""
        self.consumer_lag.labels(topic, str(partition)).set(records)


def exposed_registry(own: CollectorRegistry, *, multiproc_dir: str | None) -> CollectorRegistry:
    """The registry to expose: `own`, or a new one with the union of all processes that write to `multiproc_dir`.

    A collector that reads the ledger is registered on what this returns, whichever of the two it is: in a union,
    only what the processes wrote into the folder is seen, and `own` is not asked.
    """
    if multiproc_dir is None:
        return own
    union = CollectorRegistry()
    MultiProcessCollector(union, path=multiproc_dir)  # type: ignore[no-untyped-call]
    return union


@dataclass(frozen=True, slots=True)
class StateGauge:
    """A gauge whose samples are read from the ledger when Prometheus scrapes."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


LEDGER_UP = StateGauge("upkeep_ledger_up", "1 when the ledger could be read for this scrape, else 0.")
EDITS = StateGauge("upkeep_edits", "Edits in the ledger by state.", ("state",))
GENERATION_INFO = StateGauge(
    "upkeep_generation_info",
    "Always 1; the labels name the published generation and the hash of its base model.",
    ("generation", "base"),
)
LOCALITY = StateGauge(
    "upkeep_locality_ratio",
    "Share of a suite's probes answered exactly as the base answers them, in the newest check.",
    ("suite",),
)
LOCALITY_LOW = StateGauge(
    "upkeep_locality_ratio_low", "Lower end of the 95 % Wilson interval of upkeep_locality_ratio.", ("suite",)
)
LOCALITY_HIGH = StateGauge(
    "upkeep_locality_ratio_high",
    "Upper end of the 95 % Wilson interval of upkeep_locality_ratio.",
    ("suite",),
)
FALSE_FIRE = StateGauge(
    "upkeep_false_fire_ratio",
    "Share of a suite's probes for which some edit fired, in the newest check.",
    ("suite",),
)
RETENTION = StateGauge(
    "upkeep_retention_ratio",
    "Share of sampled live edits that still answer with their fact, in the newest check.",
)
CHECK_PASSED = StateGauge(
    "upkeep_check_passed", "1 when the newest check of a suite held its floor, else 0.", ("suite",)
)
JOB_LAST_SUCCESS = StateGauge(
    "upkeep_job_last_success_timestamp_seconds",
    "When a scheduled job last succeeded, in Unix time.",
    ("job",),
)
REGRESSION_LAST_SUCCESS = StateGauge(
    "upkeep_regression_last_success_timestamp_seconds",
    "When a regression check was last completed, in Unix time.",
)
HOLD = StateGauge("upkeep_hold", "1 while further batches are held back, else 0.")
WORKERS = StateGauge("upkeep_workers", "Workers that gave a sign of life lately.")

STATE_GAUGES = (
    LEDGER_UP,
    EDITS,
    GENERATION_INFO,
    LOCALITY,
    LOCALITY_LOW,
    LOCALITY_HIGH,
    FALSE_FIRE,
    RETENTION,
    CHECK_PASSED,
    JOB_LAST_SUCCESS,
    REGRESSION_LAST_SUCCESS,
    HOLD,
    WORKERS,
)
