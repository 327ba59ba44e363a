"""The first dashboard that an on-call engineer opens: is it well, does it keep up, does it answer?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from monitoring.grafana.panels import Chart, DashboardSection, Figure, Line, build

WELL = DashboardSection(
    "Is it well?",
    (
        Figure(
            "Alerts firing",
            "Of Upkeep's own rules.",
            'count(ALERTS{alertstate="firing"}) or vector(0)',
            bad=1,
        ),
        Figure("Ledger", "1: it can be read.", "min(upkeep_ledger_up)", bad=1, low_is_bad=True),
        Figure("Workers", "With a sign of life lately.", "max(upkeep_workers)", bad=1, low_is_bad=True),
        Figure("Held", "1: no further batch is claimed until `upkeep release`.", "max(upkeep_hold)", bad=1),
        Figure(
            "Damaged edits",
            "Published, but their shard is damaged: the base answers in their place.",
            "max(upkeep_unserved_edits) or vector(0)",
            bad=1,
        ),
        Figure("Generation", "The one that is published.", "max(upkeep_generation_number)"),
        Figure("Rollbacks", "Ever, in this ledger.", "max(upkeep_rollbacks_total)"),
        Figure("Live edits", "The model answers with these.", 'max(upkeep_edits{state="live"})'),
        Figure(
            "Waiting edits",
            "Pending or planned.",
            'sum(max by (state) (upkeep_edits{state=~"pending|planned"}))',
        ),
        Figure(
            "Lag", "Records that wait in Kafka.", "sum(topic:upkeep_consumer_group_lag_records:sum)", bad=1000
        ),
        Figure(
            "Lowest locality",
            "Of all suites: the share of probes that are answered as the base answers them.",
            "min(suite:upkeep_locality_ratio:min)",
            "percentunit",
            bad=0.99,
            low_is_bad=True,
        ),
        Figure(
            "Retention",
            "Share of live edits that still answer with their fact.",
            'min(age_form:upkeep_retention_ratio:min{age="all",form="prompt"})',
            "percentunit",
            bad=0.95,
            low_is_bad=True,
        ),
        Figure(
            "Last check",
            "Age of the newest regression check.",
            "time() - max(upkeep_regression_last_success_timestamp_seconds)",
            "s",
            bad=3600,
        ),
    ),
)

FLOW = DashboardSection(
    "Does it keep up?",
    (
        Chart(
            "Events",
            "Records consumed, by what became of them.",
            [Line("sum by (outcome) (rate(upkeep_fact_events_total[$__rate_interval]))", "{{outcome}}")],
            "cps",
        ),
        Chart(
            "Lag",
            "Records that wait in Kafka, by topic; the alert comes at 1000 for ten minutes.",
            [Line("topic:upkeep_consumer_group_lag_records:sum", "{{topic}}")],
            limit=1000,
        ),
        Chart(
            "Edits by state",
            "Pending and planned ones wait; rejected and quarantined ones wait for you.",
            [Line("max by (state) (upkeep_edits)", "{{state}}")],
        ),
        Chart(
            "Accepted to live",
            "How long an edit takes from the ledger's door to the model, by lane.",
            [
                Line(
                    f"histogram_quantile({share}, sum by (lane, le) "
                    "(rate(upkeep_edit_ingest_to_live_seconds_bucket[$__rate_interval])))",
                    f"{{{{lane}}}} {name}",
                )
                for share, name in ((0.5, "median"), (0.95, "95 %"))
            ],
            "s",
        ),
    ),
)

SERVING = DashboardSection(
    "Does it answer?",
    (
        Chart(
            "Requests",
            "By route and status.",
            [
                Line(
                    "sum by (route, status) (rate(upkeep_serve_requests_total[$__rate_interval]))",
                    "{{route}} {{status}}",
                )
            ],
            "reqps",
        ),
        Chart(
            "Time to answer",
            "95 % of the requests of a route are answered within this time.",
            [
                Line(
                    "histogram_quantile(0.95, sum by (route, le) "
                    "(rate(upkeep_serve_request_duration_seconds_bucket[$__rate_interval])))",
                    "{{route}}",
                )
            ],
            "s",
        ),
        Chart(
            "Answers in hand",
            "Answers that are generated together, and requests that have not begun: at serve.max_waiting more are refused.",
            [
                Line("sum(upkeep_serve_rows) or vector(0)", "rows"),
                Line("sum(upkeep_serve_waiting_requests) or vector(0)", "waiting requests"),
            ],
        ),
    ),
)


GATEWAY = DashboardSection(
    "In front of the engine: does the gateway choose and load?",
    (
        Chart(
            "Routed requests",
            "By outcome: through an edit's adapter, to the base, failed.",
            [Line("sum by (outcome) (rate(upkeep_gateway_requests_total[$__rate_interval]))", "{{outcome}}")],
            "reqps",
        ),
        Chart(
            "Time in front of the answer",
            "95 % are routed, and begin to be answered by the engine, within this time.",
            [
                Line(
                    "histogram_quantile(0.95, sum by (le) "
                    f"(rate(upkeep_gateway_{part}_seconds_bucket[$__rate_interval])))",
                    part,
                )
                for part in ("routing", "upstream")
            ],
            "s",
        ),
        Chart(
            "Adapters",
            "Loaded, failed to load, and unloaded for room: many evictions mean that gateway.max_adapters is small.",
            [
                Line(
                    "sum by (outcome) (rate(upkeep_gateway_adapter_loads_total[$__rate_interval]))",
                    "{{outcome}}",
                ),
                Line("sum(rate(upkeep_gateway_adapter_evictions_total[$__rate_interval]))", "evicted"),
            ],
            "cps",
        ),
        Chart(
            "Aborted answers",
            "By who ended them early.",
            [
                Line(
                    "sum by (outcome) (rate(upkeep_gateway_stream_aborts_total[$__rate_interval]))",
                    "{{outcome}}",
                )
            ],
            "cps",
        ),
        Chart(
            "Through the gateway as in process",
            "Share of sampled questions that both answer alike, by form; the alert follows gateway.parity_floor.",
            [Line("min by (form) (upkeep_parity_ratio)", "{{form}}")],
            "percentunit",
            most=1,
        ),
        Chart(
            "Compared with the gateway",
            "Questions of the newest comparison, and those that could not be compared: the engine was away.",
            [
                Line("max(upkeep_parity_prompts)", "compared"),
                Line("max(upkeep_parity_unmeasured_prompts)", "not measured"),
            ],
        ),
        Figure(
            "Stale index",
            "1: the gateway cannot follow the ledger.",
            "max(upkeep_gateway_index_stale) or vector(0)",
            bad=1,
        ),
        Figure(
            "Edits without an adapter",
            "Live, but of a kind that no adapter can be made of: the base answers in their place.",
            "max(upkeep_gateway_unserved_edits) or vector(0)",
            bad=1,
        ),
    ),
)


def overview() -> Dashboard:
    """The dashboard `upkeep-overview`."""
    return build(
        "upkeep-overview",
        "Upkeep: overview",
        "Is it well, does it keep up, does it answer? docs/runbooks.md says what to do.",
        (WELL, FLOW, SERVING, GATEWAY),
    )
