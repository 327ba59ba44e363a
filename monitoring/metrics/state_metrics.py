"""The metrics that are read from the ledger at each scrape, and where a check's scores go among them."""

from dataclasses import dataclass
from typing import Literal

YOUNG = ("1d", "7d", "30d")  # windows of age: live for at most so long


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
LOCALITY_FAILED = StateMetric(
    "upkeep_failed_check_locality_ratio",
    "upkeep_locality_ratio in the suite's newest check that failed, also one made good before the next scrape.",
    ("suite",),
)
RETENTION_FAILED = StateMetric(
    "upkeep_failed_check_retention_ratio",
    "upkeep_retention_ratio in the newest check of the live edits that failed, also one made good before the next scrape.",
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
    *(RETENTION, RETENTION_LOW, RETENTION_HIGH, STALE_ANSWERS, ROUTING, LOCALITY_FAILED, RETENTION_FAILED),
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

FAILED_SCORES = {LOCALITY: LOCALITY_FAILED, RETENTION: RETENTION_FAILED}
"""Which scores of a suite's newest failed check are exported, and as what: an alert tells what the check saw."""

PARITY_SCORES = {
    "agreement": "all",
    "agreement_prompt": "prompt",
    "agreement_rephrase": "rephrase",
    "agreement_probe": "probe",
}
"""The form under which a score of the comparison with the gateway is exported."""
