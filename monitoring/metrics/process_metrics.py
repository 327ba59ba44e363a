"""Every metric that a process counts itself.

What is read from the ledger at each scrape stands in `monitoring.metrics.state_metrics`. No label grows with edits, subjects
or offsets. `docs/metrics.md` lists both; `python -m monitoring.metrics.metrics_docs` writes it.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.metrics.union import UnionCollector

# The outcome names of the ledger, repeated because monitoring may not import daemon.
FACT_EVENT_OUTCOMES = ("accepted", "duplicate", "dead_lettered")
LANES = ("urgent", "batch")
EDITORS = ("scen", "lemoe")
VERDICTS = ("passed", "rejected")
GATEWAY_OUTCOMES = ("edit", "base", "error")
GATEWAY_LOADS = ("loaded", "failed")
GATEWAY_ABORTS = ("client", "engine")

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

# How Prometheus' client joins the values of several processes: of those that live, the newest, the sum or the most.
GaugeMode = Literal["livemostrecent", "livesum", "livemax"]


class Metrics:
    """The counters, histograms and gauges of one process, registered in the registry it is given.

    Works alone and in prometheus_client's multiprocess mode (`PROMETHEUS_MULTIPROC_DIR` set before the
    process starts): there, `exposed_registry` gives what to expose.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._count_intake()
        self._count_work()
        self._count_serving()
        self._count_gateway()

    def _count_intake(self) -> None:
        self.fact_events = self._counter(
            "upkeep_fact_events_total",
            "Kafka records consumed, by what became of them (accepted, duplicate, dead_lettered).",
            outcome=FACT_EVENT_OUTCOMES,
        )
        # When a partition moves to another consumer the newest value wins and the old one need not go.
        self.consumer_lag = self._gauge(
            "upkeep_consumer_lag_records",
            "Records of a partition that the consumer itself has yet to read.",
            *("topic", "partition"),
        )
        # A consumer that is stopped cannot say how far behind it is: somebody else measures that.
        self.consumer_group_lag = self._gauge(
            "upkeep_consumer_group_lag_records",
            "Records of a partition that the consumer group has not yet committed, as the scheduler measures it.",
            *("topic", "partition"),
        )

    def _count_work(self) -> None:
        self.batch_duration = self._histogram(
            "upkeep_edit_batch_duration_seconds",
            "Time that one batch of edits spent in one stage (such as train, verify, publish).",
            *("editor", "stage"),
            buckets=BATCH_DURATION_BUCKETS_SECONDS,
        )
        self.batches = self._counter(
            "upkeep_edit_batches_total",
            "Batches of edits that a worker ended, by editor and by how they ended.",
            *("editor", "outcome"),
        )
        self.edit_latency = self._histogram(
            "upkeep_edit_latency_seconds",
            "Time from the moment a fact changed (occurred_at) to the moment its edit went live.",
            buckets=EDIT_LATENCY_BUCKETS_SECONDS,
        )
        self.edit_ingest_to_live = self._histogram(
            "upkeep_edit_ingest_to_live_seconds",
            "Time from the moment the ledger accepted an event to the moment its edit went live, by lane.",
            "lane",
            buckets=EDIT_LATENCY_BUCKETS_SECONDS,
        )
        for lane in LANES:
            self.edit_ingest_to_live.labels(lane)
        self.edit_verdicts = self._counter(
            "upkeep_edit_verdicts_total",
            "Edits that verification let pass or turned down for good, by editor and verdict.",
            editor=EDITORS,
            verdict=VERDICTS,
        )
        self.unpublished_shards = self._gauge(
            "upkeep_unpublished_shards",
            "Of the adapter store, what no generation names and the newest sweep left, by why (young, failed).",
            "why",
        )
        # Not "job": that is Prometheus's own word for what it scrapes, and ours would be renamed.
        self.job_runs = self._counter(
            "upkeep_job_runs_total",
            "Scheduled jobs that this process ran, by task and outcome (succeeded, failed).",
            *("task", "outcome"),
        )

    def _count_serving(self) -> None:
        self.serve_requests = self._counter(
            "upkeep_serve_requests_total",
            "HTTP requests answered by the serving API, by route template and status code.",
            *("route", "status"),
        )
        self.serve_duration = self._histogram(
            "upkeep_serve_request_duration_seconds",
            "Time to answer one HTTP request of the serving API, by route template.",
            "route",
        )
        self.serve_rows = self._gauge(
            "upkeep_serve_rows",
            "Answers that the embedded server generates together at this moment, or has decided the edits of.",
            mode="livesum",
        )
        self.serve_waiting = self._gauge(
            "upkeep_serve_waiting_requests",
            "Requests to the embedded server that have not begun: there is no room, or the model is at a step.",
            mode="livesum",
        )
        self.unserved_edits = self._gauge(
            "upkeep_unserved_edits",
            "Published edits that this process cannot answer with, as their shard is damaged.",
            mode="livemax",
        )

    def _count_gateway(self) -> None:
        self.gateway_requests = self._counter(
            "upkeep_gateway_requests_total",
            "Requests that the gateway routed, by outcome (edit, base, error).",
            outcome=GATEWAY_OUTCOMES,
        )
        self.gateway_routing = self._histogram(
            "upkeep_gateway_routing_seconds",
            "Time from a request's body to the choice of its adapter, loading left out.",
        )
        self.gateway_upstream = self._histogram(
            "upkeep_gateway_upstream_seconds", "Time from a request to the engine to the head of its answer."
        )
        self.gateway_loads = self._counter(
            "upkeep_gateway_adapter_loads_total",
            "Adapters that were loaded into the engine, by outcome (loaded, failed).",
            outcome=GATEWAY_LOADS,
        )
        self.gateway_evictions = self._counter(
            "upkeep_gateway_adapter_evictions_total", "Adapters that were unloaded to make room for others."
        )
        self.gateway_aborts = self._counter(
            "upkeep_gateway_stream_aborts_total",
            "Answers that ended early, by whose fault (client, engine).",
            outcome=GATEWAY_ABORTS,
        )
        self.gateway_unserved = self._gauge(
            "upkeep_gateway_unserved_edits",
            "Live edits that no adapter can be made of, so that the base answers in their place.",
        )
        self.gateway_stale = self._gauge(
            "upkeep_gateway_index_stale",
            "1 while the gateway cannot follow the ledger and answers with the last generation that it knows.",
        )

    def _counter(self, name: str, says: str, *labels: str, **known: Sequence[str]) -> Counter:
        """With labels whose values are known: each of them is exported as 0, so that rate() sees its first event."""
        counter = Counter(name, says, (*labels, *known), registry=self.registry)
        for values in product(*known.values()) if known else ():
            counter.labels(*values)
        return counter

    def _gauge(self, name: str, says: str, *labels: str, mode: GaugeMode = "livemostrecent") -> Gauge:
        return Gauge(name, says, labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(
        self, name: str, says: str, *labels: str, buckets: Sequence[float] = REQUEST_DURATION_BUCKETS_SECONDS
    ) -> Histogram:
        return Histogram(name, says, labels, registry=self.registry, buckets=buckets)

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
