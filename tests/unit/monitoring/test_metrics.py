"""What a scrape shows: of one process, of several, and of the ledger."""

import os
import re
import socket
import struct
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text as sql
from support.ledger.ledger_backends import BEFORE_0006, Clock, Story, database_of, event

from daemon.ledger import open_ledger
from daemon.ledger.ledger_figures import ledger_figures
from daemon.ledger.values import Act
from daemon.process.telemetry import MULTIPROC_VARIABLE, role_metrics
from daemon.settings.settings import Settings
from daemon.settings.tables import MetricsSettings
from edits.errors import TemporaryError
from monitoring.metrics.collector import BatchFigures, LedgerCollector, LedgerFigures, SuiteFigures
from monitoring.metrics.metrics_docs import document
from monitoring.metrics.process_metrics import (
    BATCH_OBJECTIVE_SECONDS,
    URGENT_OBJECTIVE_SECONDS,
    Metrics,
    exposed_registry,
)
from monitoring.metrics.state_metrics import STATE_METRICS, StateMetric

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
REPOSITORY = Path(__file__).resolve().parents[3]


def scrape(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_every_outcome_of_an_event_is_exported_before_the_first_one() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.event("accepted", 3)
    metrics.lag("fact-updates", 0, 7)
    text = scrape(registry)
    assert 'upkeep_fact_events_total{outcome="accepted"} 3.0' in text
    assert 'upkeep_fact_events_total{outcome="dead_lettered"} 0.0' in text
    assert 'upkeep_consumer_lag_records{partition="0",topic="fact-updates"} 7.0' in text


def test_the_latency_histogram_reaches_from_a_second_to_beyond_a_day() -> None:
    registry = CollectorRegistry()
    Metrics(registry).edit_latency.observe(90_000)
    text = scrape(registry)
    assert 'upkeep_edit_latency_seconds_bucket{le="1.0"} 0.0' in text
    assert 'upkeep_edit_latency_seconds_bucket{le="86400.0"} 0.0' in text
    assert 'upkeep_edit_latency_seconds_bucket{le="172800.0"} 1.0' in text


def test_processes_that_share_a_folder_are_exposed_as_one(tmp_path: Path) -> None:
    script = (
        "from prometheus_client import CollectorRegistry\n"
        "from monitoring.metrics.process_metrics import Metrics\n"
        "m = Metrics(CollectorRegistry())\n"
        "m.event('accepted', 2)\n"
        "m.lag('fact-updates', 0, 5)\n"
        "m.batch_duration.labels('scen', 'train').observe(0.2)\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    text = scrape(exposed_registry(CollectorRegistry(), multiproc_dir=str(tmp_path)))
    assert 'upkeep_fact_events_total{outcome="accepted"} 4.0' in text
    assert 'upkeep_consumer_lag_records{partition="0",topic="fact-updates"} 5.0' in text
    assert 'upkeep_edit_batch_duration_seconds_count{editor="scen",stage="train"} 2.0' in text
    assert "pid=" not in text


def test_the_ledgers_figures_are_read_at_every_scrape() -> None:
    figures = LedgerFigures(
        edits={"pending": 2, "live": 5},
        generation=4,
        base_hash="abc",
        suites={
            "far": SuiteFigures(
                *(True, WHEN, 500),
                {
                    **{"locality": 0.99, "locality_low": 0.97, "locality_high": 1.0, "false_fire": 0.0},
                    **{"expected": 0.9, "kl_mean": 0.01, "kl_p99": 0.4, "perplexity_ratio": 1.01},
                    **{"drift": 2.5, "drift_alarm": 1.0},
                },
            ),
            "retention": SuiteFigures(
                *(False, WHEN, 64),
                {
                    **{"retention": 0.9, "retention_low": 0.8, "retention_high": 0.95, "retention_1d": None},
                    **{"retention_30d": 0.7, "retention_rephrase": 0.6},
                    **{"stale_answers": 0.03, "routing_consistency": 0.98, "a later release's": 1.0},
                },
            ),
        },
        parity=SuiteFigures(
            *(False, WHEN, 120),
            {"agreement": 0.9, "agreement_prompt": 0.8, "agreement_rephrase": None, "unmeasured": 3.0},
        ),
        failed_suites={
            "far": SuiteFigures(False, WHEN, 400, {"locality": 0.8, "locality_low": 0.7}),
            "retention": SuiteFigures(False, WHEN, 64, {"retention": 0.5, "retention_7d": 1.0}),
        },
        check_failures={"far": 0, "retention": 2},
        rollbacks=3,
        batches=(BatchFigures("urgent", "leased", 2, WHEN),),
        job_last_success={"nightly": WHEN},
        regression_last_success=WHEN,
        held=True,
        workers=2,
    )
    registry = CollectorRegistry()
    registry.register(
        LedgerCollector(lambda: figures, check_interval_seconds=900, parity_interval_seconds=600)
    )
    text = scrape(registry)
    for line in (
        "upkeep_ledger_up 1.0",
        'upkeep_parity_ratio{form="all"} 0.9',
        'upkeep_parity_ratio{form="prompt"} 0.8',
        "upkeep_parity_passed 0.0",
        "upkeep_parity_prompts 120.0",
        "upkeep_parity_unmeasured_prompts 3.0",
        "upkeep_parity_interval_seconds 600.0",
        'upkeep_edits{state="live"} 5.0',
        'upkeep_generation_info{base="abc",generation="4"} 1.0',
        'upkeep_locality_ratio{suite="far"} 0.99',
        'upkeep_check_passed{suite="retention"} 0.0',
        'upkeep_check_failures_total{suite="far"} 0.0',
        'upkeep_check_failures_total{suite="retention"} 2.0',
        'upkeep_failed_check_locality_ratio{suite="far"} 0.8',
        'upkeep_failed_check_retention_ratio{age="all",form="prompt"} 0.5',
        'upkeep_failed_check_retention_ratio{age="7d",form="prompt"} 1.0',
        'upkeep_retention_ratio{age="all",form="prompt"} 0.9',
        'upkeep_retention_ratio{age="all",form="rephrase"} 0.6',
        'upkeep_retention_ratio{age="30d",form="prompt"} 0.7',
        'upkeep_drift_alarm{suite="far"} 1.0',
        "upkeep_rollbacks_total 3.0",
        "upkeep_generation_number 4.0",
        'upkeep_batches_open{lane="urgent",state="leased"} 2.0',
        'upkeep_job_last_success_timestamp_seconds{task="nightly"} 1.7673',
        "upkeep_hold 1.0",
        "upkeep_workers 2.0",
    ):
        assert line in text
    assert 'upkeep_locality_ratio{suite="retention"}' not in text
    assert 'suite="parity"' not in text
    assert 'form="rephrase"} 0.8' not in text
    assert 'age="1d"' not in text
    exported = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    assert {metric.name for metric in STATE_METRICS} == exported


def test_a_ledger_that_is_away_shows_as_down_and_not_as_an_error() -> None:
    def away() -> LedgerFigures:
        raise TemporaryError("locked")

    registry = CollectorRegistry()
    registry.register(LedgerCollector(away, check_interval_seconds=900))
    text = scrape(registry)
    assert "upkeep_ledger_up 0.0" in text
    assert "upkeep_edits" not in text


@pytest.mark.parametrize("metric", STATE_METRICS, ids=lambda metric: metric.name)
def test_a_metric_says_what_it_is_and_carries_no_unbounded_label(metric: StateMetric) -> None:
    assert metric.help.endswith(".")
    bounded = {"state", "lane", "suite", "task", "age", "form"}
    # Of a generation the newest alone is exported.
    assert set(metric.labels) <= bounded | (
        {"generation", "base"} if metric.name.endswith("_info") else set()
    )


def test_no_label_of_a_process_grows_with_what_it_is_given() -> None:
    labels = {
        label
        for metric in vars(Metrics(CollectorRegistry())).values()
        if isinstance(metric, MetricWrapperBase)
        for label in metric._labelnames
    }
    ours = {"outcome", "editor", "stage", "lane", "verdict", "task", "why"}
    assert labels == ours | {"topic", "partition"} | {"route", "status"}


def test_a_scrape_reads_no_table_that_grows_with_the_edits(story: Story, clock: Clock) -> None:
    story.go_live(event("a"))
    asked: list[str] = []

    @sqlalchemy_event.listens_for(database_of(story.ledger).engine, "before_cursor_execute")
    def remember(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    ledger_figures(story.ledger, clock=clock)

    tables = {name for statement in asked for name in re.findall(r"(?:FROM|JOIN) (\w+)", statement)}
    assert "tallies" in tables
    # Of the generations the head's own row; of the batches those that are open, by their index.
    assert not tables & {"edits", "edit_names", "records", "history", "generation_changes", "outbox", "plans"}
    assert all("JOIN head" in statement for statement in asked if "FROM generations" in statement)
    # Of the checks one result of each suite.
    assert all("JOIN check_newest" in statement for statement in asked if "FROM check_results" in statement)


def test_the_counts_of_a_ledger_from_before_are_made_up_for(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        ledger.migrate()
        story = Story(ledger, Clock())
        first, _ = story.go_live(event("a"), event("b", "Other"))
        ledger.reversals.undo_fact(first.id, Act("test", "test"))
        with database_of(ledger).write() as connection:
            for statement in BEFORE_0006:
                connection.execute(sql(statement))
            connection.execute(sql("DROP TABLE tallies"))
            connection.execute(sql("DROP INDEX uq_checks_open"))  # and what came after it
            connection.execute(sql("ALTER TABLE checks DROP COLUMN kind"))
            connection.execute(sql("CREATE UNIQUE INDEX uq_checks_open ON checks (suite)"))
            connection.execute(sql("UPDATE alembic_version SET version_num = '0003'"))
        ledger.migrate()
        counts = {state.value: count for state, count in ledger.audit.counts().items() if count}
        assert (counts, ledger.audit.rollbacks()) == ({"live": 1, "retracted": 1}, 0)


def test_the_page_of_the_metrics_is_what_the_code_declares() -> None:
    assert (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8") == document()


def test_the_objectives_of_the_rules_are_buckets_of_the_histogram() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    exported = scrape(registry)
    rules = (REPOSITORY / "monitoring" / "prometheus" / "rules" / "recording.yml").read_text(encoding="utf-8")
    for lane, seconds in (("urgent", URGENT_OBJECTIVE_SECONDS), ("batch", BATCH_OBJECTIVE_SECONDS)):
        assert re.search(rf'seconds_bucket{{lane="{lane}",le="{seconds:.1f}"}} 0.0', exported)
        assert rules.count(f'seconds_bucket{{lane="{lane}",le="{seconds:.1f}"}}') == 7


def test_an_errand_beside_a_role_leaves_the_metrics_port_to_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROC_VARIABLE, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as role:
        settings = Settings(metrics=MetricsSettings(port=role.getsockname()[1]))
        role_metrics(settings, expose=False)
        with pytest.raises(TemporaryError, match="cannot listen"):
            role_metrics(settings)


def test_a_scrape_waits_for_a_file_that_is_just_being_made(tmp_path: Path) -> None:
    fresh = tmp_path / "counter_worker.db"
    fresh.touch()
    threading.Timer(0.05, lambda: fresh.write_bytes(struct.pack("ii", 8, 0) + bytes(1 << 16))).start()
    assert scrape(exposed_registry(CollectorRegistry(), multiproc_dir=str(tmp_path))) == ""
