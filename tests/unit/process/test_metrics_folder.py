"""What the roles count together: restarts add to it and to no file; what killed processes left is cleared away."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from waiting import eventually

from daemon.process.supervisor import Backoff, Role, Supervisor

# Counts once, and dies as a crash does.
ROLE = """
import os, sys
from daemon.process.metrics_folder import count_as
count_as(sys.argv[1])
from prometheus_client import CollectorRegistry
from monitoring.metrics import Metrics
metrics = Metrics(CollectorRegistry())
metrics.job_runs.labels("nightly_plan", "succeeded").inc()
metrics.unserved_edits.set(3)
os.kill(os.getpid(), 9)
"""
RUNS = 6


def counted(folder: Path) -> float:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    labels = {"task": "nightly_plan", "outcome": "succeeded"}
    return registry.get_sample_value("upkeep_job_runs_total", labels) or 0.0


def test_a_role_that_is_started_again_goes_on_counting_in_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.process.supervisor.require_temporary_folder", lambda: tmp_path)
    stop = threading.Event()
    roles = [Role(name, (sys.executable, "-c", ROLE, name)) for name in ("worker", "consume")]
    quick = Backoff(first_seconds=0.01, max_seconds=0.01)
    supervisor = Supervisor(roles, stop=stop, backoff=quick, environment={**os.environ})
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        eventually(lambda: any(tmp_path.iterdir()), "the folder is made")
        (folder,) = tmp_path.iterdir()
        eventually(lambda: counted(folder) >= RUNS, "the roles were started again and again")
        assert len({file.name.rsplit("_", 1)[1] for file in folder.iterdir()}) <= len(roles)
    finally:
        stop.set()
        thread.join(30)
    assert list(tmp_path.iterdir()) == []


def test_what_killed_supervisors_left_is_cleared_away_and_a_running_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.process.supervisor.require_temporary_folder", lambda: tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        for pid in (ended.pid, running.pid):
            (tmp_path / f"upkeep-metrics-{pid}-abc").mkdir()
        (tmp_path / "upkeep-metrics-notes").mkdir()
        stop = threading.Event()
        stop.set()
        Supervisor([], stop=stop).run()
        left = sorted(path.name for path in tmp_path.iterdir())
        running.communicate(b"\n")
    assert left == sorted([f"upkeep-metrics-{running.pid}-abc", "upkeep-metrics-notes"])
