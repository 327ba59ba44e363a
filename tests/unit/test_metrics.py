"""What a scrape shows: of one process, of several, and of the ledger."""

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from daemon.settings import MetricsSettings, Settings
from daemon.telemetry import MULTIPROC_VARIABLE, role_metrics
from editors.errors import TemporaryError
from monitoring.collector import LedgerCollector, LedgerFigures, SuiteFigures
from monitoring.metrics import STATE_GAUGES, Metrics, StateGauge, exposed_registry

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


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
        "from monitoring.metrics import Metrics\n"
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
            "far": SuiteFigures(True, locality=0.99, locality_low=0.97, locality_high=1.0, false_fire=0.0),
            "retention": SuiteFigures(False, retention=0.9),
        },
        job_last_success={"nightly": WHEN},
        regression_last_success=WHEN,
        held=True,
        workers=2,
    )
    registry = CollectorRegistry()
    registry.register(LedgerCollector(lambda: figures))
    text = scrape(registry)
    for line in (
        "upkeep_ledger_up 1.0",
        'upkeep_edits{state="live"} 5.0',
        'upkeep_generation_info{base="abc",generation="4"} 1.0',
        'upkeep_locality_ratio{suite="far"} 0.99',
        'upkeep_check_passed{suite="retention"} 0.0',
        "upkeep_retention_ratio 0.9",
        'upkeep_job_last_success_timestamp_seconds{job="nightly"} 1.7673',
        "upkeep_hold 1.0",
        "upkeep_workers 2.0",
    ):
        assert line in text
    assert 'upkeep_locality_ratio{suite="retention"}' not in text
    assert {gauge.name for gauge in STATE_GAUGES} == {family.name for family in registry.collect()}


def test_a_ledger_that_is_away_shows_as_down_and_not_as_an_error() -> None:
    def away() -> LedgerFigures:
        raise TemporaryError("locked")

    registry = CollectorRegistry()
    registry.register(LedgerCollector(away))
    text = scrape(registry)
    assert "upkeep_ledger_up 0.0" in text
    assert "upkeep_edits" not in text


@pytest.mark.parametrize("gauge", STATE_GAUGES, ids=lambda gauge: gauge.name)
def test_a_state_gauge_says_what_it_is_and_carries_no_unbounded_label(gauge: StateGauge) -> None:
    assert gauge.help.endswith(".")
    assert set(gauge.labels) <= {"state", "suite", "job", "generation", "base"}


def test_an_errand_beside_a_role_leaves_the_metrics_port_to_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROC_VARIABLE, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as role:
        settings = Settings(metrics=MetricsSettings(port=role.getsockname()[1]))
        role_metrics(settings, expose=False)
        with pytest.raises(TemporaryError, match="cannot listen"):
            role_metrics(settings)
