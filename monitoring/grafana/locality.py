"""The dashboard of the checks: is the rest as it was, and what was edited as it was told?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from monitoring.grafana.panels import Chart, DashboardSection, Line, build


def _by_suite(metric: str, kind: str = "max") -> list[Line]:
    return [Line(f"{kind} by (suite) ({metric})", "{{suite}}")]


LOCALITY = DashboardSection(
    "Is the rest as it was?",
    (
        Chart(
            "Locality",
            "Share of probes answered exactly as the base answers them, by suite.",
            [Line("suite:upkeep_locality_ratio:min", "{{suite}}")],
            "percentunit",
            most=1,
        ),
        Chart(
            "Locality, 95 % interval",
            "A drop is real when the whole interval lies under the floor.",
            [
                Line("min by (suite) (upkeep_locality_ratio_low)", "{{suite}} low"),
                Line("min by (suite) (upkeep_locality_ratio_high)", "{{suite}} high"),
            ],
            "percentunit",
            most=1,
        ),
        Chart(
            "False fire",
            "Share of probes for which some edit spoke.",
            _by_suite("upkeep_false_fire_ratio"),
            "percentunit",
        ),
        Chart(
            "Expected answers",
            "Share of the probes with an expected answer that got it.",
            _by_suite("upkeep_expected_answer_ratio", "min"),
            "percentunit",
            most=1,
        ),
        Chart(
            "KL divergence",
            "Of the next token from the base's: moves before an answer changes. In nats.",
            [
                Line("max by (suite) (upkeep_kl_divergence_mean_nats)", "{{suite}} mean"),
                Line("max by (suite) (upkeep_kl_divergence_p99_nats)", "{{suite}} 99 %"),
            ],
        ),
        Chart(
            "Perplexity, edited over base",
            "1: as the base reads the text.",
            _by_suite("upkeep_perplexity_ratio"),
        ),
    ),
)

RETENTION = DashboardSection(
    "Is what was edited as it was told?",
    (
        Chart(
            "Retention by age",
            "Share of live edits that still answer with their fact, asked with their own prompt.",
            [Line('age_form:upkeep_retention_ratio:min{form="prompt"}', "{{age}}")],
            "percentunit",
            most=1,
        ),
        Chart(
            "Retention by form",
            "Asked with the prompt, and with another phrasing.",
            [
                Line('age_form:upkeep_retention_ratio:min{age="all"}', "{{form}}"),
                Line("min by (form) (upkeep_retention_ratio_low)", "{{form}} low"),
                Line("min by (form) (upkeep_retention_ratio_high)", "{{form}} high"),
            ],
            "percentunit",
            most=1,
        ),
        Chart(
            "Stale answers",
            "Share of live edits that answer with an outdated value; the alert comes at 2 %.",
            [Line("max(upkeep_stale_answer_ratio)", "stale")],
            "percentunit",
            limit=0.02,
        ),
        Chart(
            "Routing consistency",
            "Share of LEMoE edits whose prompts find the expert that was trained on them.",
            [Line("min(upkeep_routing_consistency_ratio)", "consistent")],
            "percentunit",
            most=1,
        ),
    ),
)

DRIFT = DashboardSection(
    "Drift and checks",
    (
        Chart(
            "Drift statistic",
            "How far a score has moved against its trailing window.",
            _by_suite("upkeep_drift_statistic"),
        ),
        Chart("Drift alarm", "1 while the statistic is over its threshold.", _by_suite("upkeep_drift_alarm")),
        Chart(
            "Check passed",
            "0: under the floor.",
            [Line("suite:upkeep_check_passed:min", "{{suite}}")],
            most=1,
        ),
        Chart(
            "Failed checks",
            "Within 10 minutes: also those that were made good before a scrape could see them.",
            [Line("suite:upkeep_check_failures:increase10m", "{{suite}}")],
        ),
        Chart(
            "What the newest failed check saw",
            "Locality of each suite, and the share of live edits that still answered, by age.",
            [
                Line("min by (suite) (upkeep_failed_check_locality_ratio)", "{{suite}}"),
                Line(
                    'min by (age) (upkeep_failed_check_retention_ratio{form="prompt"})', "live edits, {{age}}"
                ),
            ],
            "percentunit",
            most=1,
        ),
        Chart(
            "Age of the newest check",
            "By suite.",
            [Line("time() - max by (suite) (upkeep_check_timestamp_seconds)", "{{suite}}")],
            "s",
        ),
        Chart("Probes", "That the newest check asked, by suite.", _by_suite("upkeep_check_probes")),
    ),
)


def locality() -> Dashboard:
    """The dashboard `upkeep-locality`."""
    return build(
        "upkeep-locality",
        "Upkeep: locality and drift",
        "What the regression checks say, suite by suite; marks show generations and rollbacks.",
        (LOCALITY, RETENTION, DRIFT),
    )
