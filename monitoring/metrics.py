"""Every metric that Upkeep exports, declared in one place.

Two families: what a running process counts itself (`Metrics`), and what is read from the ledger at each
scrape (`STATE_METRICS`, filled by `monitoring.collector`). No label grows with edits, subjects or offsets.
`docs/metrics.md` lists both; `python -m monitoring.metrics_docs` writes it.
"""

from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.union import UnionCollector

# The outcome names of the ledger, repeated because monitoring may not import daemon.
FACT_EVENT_OUTCOMES = ("accepted", "duplicate", "dead_lettered")
LANES = ("urgent", "batch")
EDITORS = ("scen", "lemoe")
VERDICTS = ("passed", "rejected")
GATEWAY_OUTCOMES = ("edit", "base", "error")
GATEWAY_LOADS = ("loaded", "failed")
GATEWAY_ABORTS = ("client", "engine")
YOUNG = ("1d", "7d", "30d")  # windows of age: live for at most so long

# Up to these times is in time: the objectives of docs/operations.md, each a bucket of the histogram below.
URGENT_OBJECTIVE_SECONDS = 300
BATCH_OBJECTIVE_SECONDS = 100_800  # 28 hours: accepted just after one nightly run, live with the next

# From "the urgent lane took it" (seconds) over "the next nightly run" (a day) to "it waited a weekend".
EDIT_LATENCY_BUCKETS_SECONDS = (
    *(1, 2, 5, 10, 30),
    *(60, 120, URGENT_OBJECTIVE_SECONDS, 600, 1_800),
    *(3_600, 7_200, 14_400, 28_800, 43_200),
    *(86_400, BATCH_OBJECTIVE_SECONDS, 172_800, 604_800),
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
            "Records of a partition that the consumer itself has yet to read.",
            ["topic", "partition"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        # A consumer that is stopped cannot say how far behind it is: somebody else measures that.
        self.consumer_group_lag = Gauge(
            "upkeep_consumer_group_lag_records",
            "Records of a partition that the consumer group has not yet committed, as the scheduler measures it.",
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
        self.edit_ingest_to_live = Histogram(
            "upkeep_edit_ingest_to_live_seconds",
            "Time from the moment the ledger accepted an event to the moment its edit went live, by lane.",
            ["lane"],
            registry=registry,
            buckets=EDIT_LATENCY_BUCKETS_SECONDS,
        )
        for lane in LANES:
            self.edit_ingest_to_live.labels(lane)
        self.edit_verdicts = Counter(
            "upkeep_edit_verdicts_total",
            "Edits that verification let pass or turned down for good, by editor and verdict.",
            ["editor", "verdict"],
            registry=registry,
        )
        for editor in EDITORS:
            for verdict in VERDICTS:
                self.edit_verdicts.labels(editor, verdict)
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
        self.serve_rows = Gauge(
            "upkeep_serve_rows",
            "Answers that the embedded server generates together at this moment, or has decided the edits of.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.serve_waiting = Gauge(
            "upkeep_serve_waiting_requests",
            "Requests to the embedded server that have not begun: there is no room, or the model is at a step.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.gateway_requests = Counter(
            "upkeep_gateway_requests_total",
            "Requests that the gateway routed, by outcome (edit, base, error).",
            ["outcome"],
            registry=registry,
        )
        for outcome in GATEWAY_OUTCOMES:
            self.gateway_requests.labels(outcome)
        self.gateway_routing = Histogram(
            "upkeep_gateway_routing_seconds",
            "Time from a request's body to the choice of its adapter, loading left out.",
            registry=registry,
            buckets=REQUEST_DURATION_BUCKETS_SECONDS,
        )
        self.gateway_upstream = Histogram(
            "upkeep_gateway_upstream_seconds",
            "Time from a request to the engine to the head of its answer.",
            registry=registry,
            buckets=REQUEST_DURATION_BUCKETS_SECONDS,
        )
        self.gateway_loads = Counter(
            "upkeep_gateway_adapter_loads_total",
            "Adapters that were loaded into the engine, by outcome (loaded, failed).",
            ["outcome"],
            registry=registry,
        )
        for outcome in GATEWAY_LOADS:
            self.gateway_loads.labels(outcome)
        self.gateway_evictions = Counter(
            "upkeep_gateway_adapter_evictions_total",
            "Adapters that were unloaded to make room for others.",
            registry=registry,
        )
        self.gateway_aborts = Counter(
            "upkeep_gateway_stream_aborts_total",
            "Answers that ended early, by whose fault (client, engine).",
            ["outcome"],
            registry=registry,
        )
        for by in GATEWAY_ABORTS:
            self.gateway_aborts.labels(by)
        self.unpublished_shards = Gauge(
            "upkeep_unpublished_shards",
            "Of the adapter store, what no generation names and the newest sweep left, by why (young, failed).",
            ["why"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.unserved_edits = Gauge(
            "upkeep_unserved_edits",
            "Published edits that this process cannot answer with, as their shard is damaged.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.gateway_unserved = Gauge(
            "upkeep_gateway_unserved_edits",
            "Live edits that no adapter can be made of, so that the base answers in their place.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.gateway_stale = Gauge(
            "upkeep_gateway_index_stale",
            "1 while the gateway cannot follow the ledger and answers with the last generation that it knows.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        # Not "job": that is Prometheus's own word for what it scrapes, and ours would be renamed.
        self.job_runs = Counter(
            "upkeep_job_runs_total",
            "Scheduled jobs that this process ran, by task and outcome (succeeded, failed).",
            ["task", "outcome"],
            registry=registry,
        )

    def event(self, outcome: str, count: int) -> None:
        """`count` more records had this outcome."""
        self.fact_events.labels(outcome).inc(count)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """So many records of a partition are not yet committed."""
        self.consumer_lag.labels(topic, str(partition)).set(records)

    def group_lag(self, topic: str, partition: int, records: int) -> None:
        """So many records of a partition the consumer group has not committed, whoever is to consume them."""
        self.consumer_group_lag.labels(topic, str(partition)).set(records)

    def load(self, rows: int, waiting: int) -> None:
        """So many answers are generated together, so many requests have not begun."""
        self.serve_rows.set(rows)
        self.serve_waiting.set(waiting)

    def swept(self, *, young: int, failed: int) -> None:
        """The adapter store was swept, and so much was left that no generation names."""
        self.unpublished_shards.labels("young").set(young)
        self.unpublished_shards.labels("failed").set(failed)

    def verdict(self, editor: str, *, passed: int, rejected: int) -> None:
        """A batch was published: so many of its edits passed verification, so many did not."""
        self.edit_verdicts.labels(editor, "passed").inc(passed)
        self.edit_verdicts.labels(editor, "rejected").inc(rejected)


def exposed_registry(own: CollectorRegistry, *, multiproc_dir: str | None) -> CollectorRegistry:
    """The registry to expose: `own`, or a new one with the union of all processes that write to `multiproc_dir`.

    A collector that reads the ledger is registered on what this returns, whichever of the two it is: in a union,
    only what the processes wrote into the folder is seen, and `own` is not asked.
    """
    if multiproc_dir is None:
        return own
    union = CollectorRegistry()
    union.register(UnionCollector(multiproc_dir))
    return union


@dataclass(frozen=True, slots=True)
class StateMetric:
    """A metric whose samples are read from the ledger when Prometheus scrapes."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"


LEDGER_UP = StateMetric("upkeep_ledger_up", "1 when the ledger could be read for this scrape, else 0.")
EDITS = StateMetric("upkeep_edits", "Edits in the ledger by state.", ("state",))
BATCHES_OPEN = StateMetric(
    "upkeep_batches_open",
    "Batches that are not done, by lane and state (planned, leased).",
    ("lane", "state"),
)
BATCH_OLDEST = StateMetric(
    "upkeep_batch_oldest_timestamp_seconds",
    "When the oldest batch that is not done was planned, in Unix time, by lane and state.",
    ("lane", "state"),
)
GENERATION_INFO = StateMetric(
    "upkeep_generation_info",
    "Always 1; the labels name the published generation and the hash of its base model.",
    ("generation", "base"),
)
GENERATION_NUMBER = StateMetric("upkeep_generation_number", "The number of the published generation.")
ROLLBACKS = StateMetric(
    "upkeep_rollbacks_total", "Generations that were published to take changes back.", kind="counter"
)
LOCALITY = StateMetric(
    "upkeep_locality_ratio",
    "Share of a suite's probes answered exactly as the base answers them, in the newest check.",
    ("suite",),
)
LOCALITY_LOW = StateMetric(
    "upkeep_locality_ratio_low", "Lower end of the 95 % Wilson interval of upkeep_locality_ratio.", ("suite",)
)
LOCALITY_HIGH = StateMetric(
    "upkeep_locality_ratio_high",
    "Upper end of the 95 % Wilson interval of upkeep_locality_ratio.",
    ("suite",),
)
FALSE_FIRE = StateMetric(
    "upkeep_false_fire_ratio",
    "Share of a suite's probes for which some edit fired, in the newest check.",
    ("suite",),
)
EXPECTED = StateMetric(
    "upkeep_expected_answer_ratio",
    "Share of a suite's probes with an expected answer that got it, in the newest check.",
    ("suite",),
)
KL_MEAN = StateMetric(
    "upkeep_kl_divergence_mean_nats",
    "Mean KL divergence of the next token from the base's, over a suite's probes, in the newest check.",
    ("suite",),
)
KL_P99 = StateMetric(
    "upkeep_kl_divergence_p99_nats",
    "99th percentile of the KL divergence of the next token from the base's, over a suite's probes.",
    ("suite",),
)
PERPLEXITY = StateMetric(
    "upkeep_perplexity_ratio",
    "Perplexity of the edited model over that of the base on a suite's text, in the newest check.",
    ("suite",),
)
RETENTION = StateMetric(
    "upkeep_retention_ratio",
    "Share of sampled live edits that still answer with their fact, by age of the edit (live for at most 1, "
    "7 or 30 days, all) and by form of the question (prompt, rephrase), in the newest check.",
    ("age", "form"),
)
RETENTION_LOW = StateMetric(
    "upkeep_retention_ratio_low",
    "Lower end of the 95 % Wilson interval of upkeep_retention_ratio.",
    ("age", "form"),
)
RETENTION_HIGH = StateMetric(
    "upkeep_retention_ratio_high",
    "Upper end of the 95 % Wilson interval of upkeep_retention_ratio.",
    ("age", "form"),
)
STALE_ANSWERS = StateMetric(
    "upkeep_stale_answer_ratio",
    "Share of sampled live edits, of those whose fact had another value before, that answer with the old one.",
)
ROUTING = StateMetric(
    "upkeep_routing_consistency_ratio",
    "Share of sampled LEMoE edits whose prompts are routed to the expert that was trained on them.",
)
DRIFT = StateMetric(
    "upkeep_drift_statistic",
    "How far a suite's score has moved against its trailing window (CUSUM), after the newest check.",
    ("suite",),
)
DRIFT_ALARM = StateMetric(
    "upkeep_drift_alarm", "1 while a suite's drift statistic is over its threshold, else 0.", ("suite",)
)
CHECK_PASSED = StateMetric(
    "upkeep_check_passed", "1 when the newest check of a suite held its floor, else 0.", ("suite",)
)
CHECK_FAILURES = StateMetric(
    "upkeep_check_failures_total",
    "Checks of a suite that did not hold its floor, also those that were made good before the next scrape.",
    ("suite",),
    "counter",
)
CHECK_PROBES = StateMetric(
    "upkeep_check_probes", "Probes that the newest check of a suite asked.", ("suite",)
)
CHECK_TIMESTAMP = StateMetric(
    "upkeep_check_timestamp_seconds", "When a suite was last checked, in Unix time.", ("suite",)
)
CHECK_INTERVAL = StateMetric(
    "upkeep_check_interval_seconds", "How often a regression check is asked for (schedule.check_seconds)."
)
PARITY = StateMetric(
    "upkeep_parity_ratio",
    "Share of sampled questions that the gateway answers as the model in process does, by form (prompt and rephrase of live "
    "edits, probe, all), in the newest comparison.",
    ("form",),
)
PARITY_PASSED = StateMetric(
    "upkeep_parity_passed", "1 when the newest comparison with the gateway held its floor, else 0."
)
PARITY_PROMPTS = StateMetric(
    "upkeep_parity_prompts", "Questions that the newest comparison with the gateway could compare."
)
PARITY_UNMEASURED = StateMetric(
    "upkeep_parity_unmeasured_prompts",
    "Questions that it could not compare: the gateway or its engine was away, busy, or at another generation.",
)
PARITY_TIMESTAMP = StateMetric(
    "upkeep_parity_timestamp_seconds", "When the gateway was last compared with the model, in Unix time."
)
PARITY_INTERVAL = StateMetric(
    "upkeep_parity_interval_seconds",
    "How often the gateway is compared (gateway.parity_seconds); only where gateway.url is set.",
)
JOB_LAST_SUCCESS = StateMetric(
    "upkeep_job_last_success_timestamp_seconds",
    "When a scheduled job last succeeded, in Unix time.",
    ("task",),
)
REGRESSION_LAST_SUCCESS = StateMetric(
    "upkeep_regression_last_success_timestamp_seconds",
    "When a regression check was last completed, in Unix time.",
)
HOLD = StateMetric("upkeep_hold", "1 while further batches are held back, else 0.")
WORKERS = StateMetric("upkeep_workers", "Workers that gave a sign of life lately.")

STATE_METRICS = (
    *(LEDGER_UP, EDITS, BATCHES_OPEN, BATCH_OLDEST),
    *(GENERATION_INFO, GENERATION_NUMBER, ROLLBACKS),
    *(LOCALITY, LOCALITY_LOW, LOCALITY_HIGH, FALSE_FIRE, EXPECTED, KL_MEAN, KL_P99, PERPLEXITY),
    *(RETENTION, RETENTION_LOW, RETENTION_HIGH, STALE_ANSWERS, ROUTING),
    *(DRIFT, DRIFT_ALARM, CHECK_PASSED, CHECK_FAILURES, CHECK_PROBES, CHECK_TIMESTAMP, CHECK_INTERVAL),
    *(PARITY, PARITY_PASSED, PARITY_PROMPTS, PARITY_UNMEASURED, PARITY_TIMESTAMP, PARITY_INTERVAL),
    *(JOB_LAST_SUCCESS, REGRESSION_LAST_SUCCESS, HOLD, WORKERS),
)

SUITE_SCORES = {
    "locality": LOCALITY,
    "locality_low": LOCALITY_LOW,
    "locality_high": LOCALITY_HIGH,
    "false_fire": FALSE_FIRE,
    "expected": EXPECTED,
    "kl_mean": KL_MEAN,
    "kl_p99": KL_P99,
    "perplexity_ratio": PERPLEXITY,
    "drift": DRIFT,
    "drift_alarm": DRIFT_ALARM,
}
"""Where a score of any suite goes, with the suite as its label."""

RETENTION_SCORES = {
    "retention": (RETENTION, ("all", "prompt")),
    "retention_low": (RETENTION_LOW, ("all", "prompt")),
    "retention_high": (RETENTION_HIGH, ("all", "prompt")),
    "retention_rephrase": (RETENTION, ("all", "rephrase")),
    **{f"retention_{age}": (RETENTION, (age, "prompt")) for age in YOUNG},
    **{f"retention_rephrase_{age}": (RETENTION, (age, "rephrase")) for age in YOUNG},
    "stale_answers": (STALE_ANSWERS, ()),
    "routing_consistency": (ROUTING, ()),
}
"""Where a score that is known once, from the live edits, goes, and with which labels."""

PARITY_SCORES = {
    "agreement": "all",
    "agreement_prompt": "prompt",
    "agreement_rephrase": "rephrase",
    "agreement_probe": "probe",
}
"""The form under which a score of the comparison with the gateway is exported."""
