"""The dashboard of the work: batches, stages, verdicts, objectives and jobs."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from monitoring.grafana.panels import Chart, DashboardSection, Line, build

OBJECTIVES = DashboardSection(
    "Objectives: 99 % live within 5 minutes (urgent), within 28 hours (batch)",
    (
        Chart(
            "Late edits, short windows",
            "Share of the edits that went live after their objective; over 14.4 % for an hour the budget burns fast.",
            [
                Line(f"lane:upkeep_edit_late:ratio_rate{window}", f"{{{{lane}}}} {window}")
                for window in ("5m", "30m", "1h")
            ],
            "percentunit",
            limit=0.144,
        ),
        Chart(
            "Late edits, long windows",
            "The budget is 1 %.",
            [
                Line(f"lane:upkeep_edit_late:ratio_rate{window}", f"{{{{lane}}}} {window}")
                for window in ("2h", "6h", "1d", "3d")
            ],
            "percentunit",
            limit=0.01,
        ),
        Chart(
            "Changed to live",
            "From the moment a fact changed (occurred_at): what the world sees, with the producer's own delay.",
            [
                Line(
                    f"histogram_quantile({share}, sum by (le) "
                    "(rate(upkeep_edit_latency_seconds_bucket[$__rate_interval])))",
                    name,
                )
                for share, name in ((0.5, "median"), (0.95, "95 %"))
            ],
            "s",
        ),
        Chart(
            "Edits live",
            "By lane.",
            [
                Line(
                    "sum by (lane) (rate(upkeep_edit_ingest_to_live_seconds_count[$__rate_interval]))",
                    "{{lane}}",
                )
            ],
            "cps",
        ),
    ),
)

BATCHES = DashboardSection(
    "Batches",
    (
        Chart(
            "Open batches",
            "Planned ones wait for a worker, leased ones are worked on.",
            [Line("max by (lane, state) (upkeep_batches_open)", "{{lane}} {{state}}")],
        ),
        Chart(
            "Oldest open batch",
            "Since it was planned; a flat rising line is a batch that does not get done.",
            [
                Line(
                    "time() - min by (lane, state) (upkeep_batch_oldest_timestamp_seconds)",
                    "{{lane}} {{state}}",
                )
            ],
            "s",
        ),
        Chart(
            "Time in each stage",
            "95 % of the batches pass a stage within this time.",
            [
                Line(
                    "histogram_quantile(0.95, sum by (editor, stage, le) "
                    "(rate(upkeep_edit_batch_duration_seconds_bucket[$__rate_interval])))",
                    "{{editor}} {{stage}}",
                )
            ],
            "s",
        ),
        Chart(
            "Batches ended",
            "By editor and by how they ended.",
            [
                Line(
                    "sum by (editor, outcome) (increase(upkeep_edit_batches_total[$__rate_interval]))",
                    "{{editor}} {{outcome}}",
                )
            ],
        ),
    ),
)

VERDICTS = DashboardSection(
    "Verdicts",
    (
        Chart(
            "Passed and rejected",
            "Edits that verification let pass or turned down.",
            [
                Line(
                    "sum by (editor, verdict) (increase(upkeep_edit_verdicts_total[$__rate_interval]))",
                    "{{editor}} {{verdict}}",
                )
            ],
        ),
        Chart(
            "Rejected share",
            "Over an hour; the alert comes at 10 %.",
            [Line("editor:upkeep_edits_rejected:ratio_rate1h", "{{editor}}")],
            "percentunit",
            limit=0.1,
        ),
        Chart(
            "Set aside",
            "Edits that wait for a decision: `upkeep facts --state quarantined`.",
            [Line('max by (state) (upkeep_edits{state=~"rejected|quarantined"})', "{{state}}")],
        ),
        Chart(
            "Dead letters",
            "Records that could not be read.",
            [
                Line(
                    'sum(increase(upkeep_fact_events_total{outcome="dead_lettered"}[$__rate_interval]))',
                    "records",
                )
            ],
        ),
    ),
)

JOBS = DashboardSection(
    "Jobs",
    (
        Chart(
            "Since the last success",
            "By scheduled job.",
            [Line("time() - max by (task) (upkeep_job_last_success_timestamp_seconds)", "{{task}}")],
            "s",
        ),
        Chart(
            "Runs",
            "By job and outcome.",
            [
                Line(
                    "sum by (task, outcome) (increase(upkeep_job_runs_total[$__rate_interval]))",
                    "{{task}} {{outcome}}",
                )
            ],
        ),
        Chart(
            "Left in the adapter store",
            "Named by no generation and left by the newest sweep: young ones go later, failed ones the disk did not let go.",
            [Line("max by (why) (upkeep_unpublished_shards)", "{{why}}")],
        ),
    ),
)


def editing() -> Dashboard:
    """The dashboard `upkeep-editing`."""
    return build(
        "upkeep-editing",
        "Upkeep: editing",
        "From the ledger's door to the published generation.",
        (OBJECTIVES, BATCHES, VERDICTS, JOBS),
    )
