"""The scheduler on a real ledger: one run per slot, however many schedulers there are and whatever fails."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import CollectorRegistry
from support.ledger.ledger_backends import event, record

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.errors import LedgerUnavailable
from daemon.ledger.values import ConsumedRecord, EditState
from daemon.planning.scheduler import Job, Scheduler, run
from daemon.planning.timetable import EPOCH, Cron, Every
from daemon.settings.settings import Settings
from daemon.settings.tables import LedgerSettings, ScheduleSettings
from edits.errors import TemporaryError
from monitoring.metrics.process_metrics import Metrics

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        opened.migrate()
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{path}") as opened:
        yield opened


def scheduler(ledger: Ledger, *jobs: Job) -> Scheduler:
    return Scheduler(jobs, ledger=ledger, metrics=Metrics(CollectorRegistry()))


@contextmanager
def running(*schedulers: Scheduler) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=one.run, args=[stop]) for one in schedulers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)


def rows(path: Path, name: str) -> list[tuple[str, bool | None, str | None]]:
    with sqlite3.connect(path) as connection:
        return connection.execute(
            "SELECT slot, ok, detail FROM jobs WHERE name = ? ORDER BY slot", [name]
        ).fetchall()


def wait_for(condition: Callable[[], bool], *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_two_schedulers_on_one_ledger_run_no_slot_twice(path: Path) -> None:
    runs: list[str] = []

    def work(name: str) -> Callable[[], str]:
        return lambda: runs.append(name) or "done"

    url = f"sqlite:///{path}"
    with open_ledger(url) as one, open_ledger(url) as two:
        first = scheduler(one, Job("tick", Every(0.2), work("first")))
        second = scheduler(two, Job("tick", Every(0.2), work("second")))
        with running(first, second):
            wait_for(lambda: len(runs) >= 12)
    slots = [slot for slot, _, _ in rows(path, "tick")]
    assert len(slots) == len(set(slots)) == len(runs)
    beats = [datetime.fromisoformat(slot) for slot in slots]
    assert all(not (beat - EPOCH) % timedelta(seconds=0.2) for beat in beats)


def test_schedulers_that_start_apart_derive_the_same_slots() -> None:
    every = Every(5.0)
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    later = moment + timedelta(seconds=2)
    one, two = every.slot(moment), every.slot(later)
    assert one is not None
    assert two is not None
    keys = {every.attempt(one, moment).key, every.attempt(two, later).key}
    assert keys == {"2026-03-04T05:06:05+00:00"}
    assert every.after(moment) == datetime(2026, 3, 4, 5, 6, 10, tzinfo=UTC)


def test_a_nightly_slot_is_the_planned_time_in_the_zone_of_the_settings() -> None:
    nightly = Cron("0 2 * * *", BERLIN, grace_seconds=600)

    def attempt(now: datetime) -> tuple[str, bool]:
        slot = nightly.slot(now)
        assert slot is not None
        found = nightly.attempt(slot, now)
        return found.key, found.late

    winter, summer = "2026-01-10T01:00:00+00:00", "2026-07-10T00:00:00+00:00"
    assert attempt(datetime(2026, 1, 10, 1, 0, 0, tzinfo=UTC)) == (winter, False)
    assert attempt(datetime(2026, 7, 10, 0, 1, 0, tzinfo=UTC)) == (summer, False)
    assert attempt(datetime(2026, 7, 10, 0, 9, 0, tzinfo=UTC)) == (f"{summer} attempt 5", False)
    assert attempt(datetime(2026, 7, 10, 0, 11, 0, tzinfo=UTC)) == (f"{summer} late attempt 1", True)
    assert attempt(datetime(2026, 7, 9, 23, 59, 0, tzinfo=UTC))[0].startswith("2026-07-09T00:00:00")


def test_a_failing_job_is_recorded_and_neither_it_nor_the_others_stop(ledger: Ledger, path: Path) -> None:
    good: list[int] = []

    def fail() -> str:
        raise ValueError("out of cheese")

    jobs = (Job("bad", Every(0.2), fail), Job("good", Every(0.2), lambda: good.append(1) or "fine"))
    with running(scheduler(ledger, *jobs)):
        wait_for(lambda: len(good) >= 3 and len(rows(path, "bad")) >= 3)
    assert {(ok, detail) for _, ok, detail in rows(path, "bad")} == {(0, "ValueError: out of cheese")}
    assert set(ledger.jobs.last_success()) == {"good"}


def test_a_ledger_that_is_away_for_a_moment_does_not_stop_the_beat(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    real, away = ledger.jobs.try_start, [True, True]

    def try_start(name: str, slot: str) -> bool:
        if away:
            away.pop()
            raise LedgerUnavailable("locked")
        return real(name, slot)

    monkeypatch.setattr(ledger.jobs, "try_start", try_start)
    with running(scheduler(ledger, Job("tick", Every(0.2), lambda: runs.append(1) or "done"))):
        wait_for(lambda: len(runs) >= 2)


def every_minute() -> Cron:
    return Cron("* * * * *", ZoneInfo("UTC"), grace_seconds=90, retry_seconds=0.4)


def test_a_nightly_run_that_fails_for_now_is_tried_again_in_its_slot(ledger: Ledger, path: Path) -> None:
    trouble = [TemporaryError("busy"), TemporaryError("busy")]

    def work() -> str:
        if trouble:
            raise trouble.pop()
        return "done"

    with running(scheduler(ledger, Job("nightly", every_minute(), work))):
        wait_for(lambda: 1 in [ok for _, ok, _ in rows(path, "nightly")])
    assert sorted(str(ok) for _, ok, _ in rows(path, "nightly")) == ["0", "0", "1"]


def test_a_nightly_run_whose_scheduler_died_is_taken_over(ledger: Ledger, path: Path) -> None:
    cron = every_minute()
    job = Job("nightly", cron, lambda: "done")
    now = datetime.now(UTC)
    slot = cron.slot(now)
    assert slot is not None
    # And then its scheduler was killed.
    assert ledger.jobs.try_start("nightly", cron.attempt(slot, now).key)
    with running(scheduler(ledger, job)):
        wait_for(lambda: 1 in [ok for _, ok, _ in rows(path, "nightly")])
    assert sorted(str(ok) for _, ok, _ in rows(path, "nightly")) == ["1", "None"]


def test_a_nightly_run_that_went_well_is_not_repeated(ledger: Ledger, path: Path) -> None:
    runs: list[int] = []
    job = Job(
        "nightly",
        Cron("0 0 1 1 *", ZoneInfo("UTC"), grace_seconds=400 * 86_400),
        lambda: runs.append(1) or "",
    )
    for _ in range(2):
        scheduler(ledger, job).run_due(job)
    assert runs == [1]


def test_a_job_in_hand_ends_before_the_scheduler_does(ledger: Ledger, path: Path) -> None:
    begun = threading.Event()

    def work() -> str:
        begun.set()
        time.sleep(0.5)
        return "done"

    with running(scheduler(ledger, Job("slow", Every(3600.0), work))):
        assert begun.wait(10)
    assert [(ok, detail) for _, ok, detail in rows(path, "slow")] == [(1, "done")]


def test_the_role_plans_urgent_edits_and_asks_for_checks_by_itself(ledger: Ledger, path: Path) -> None:
    settings = Settings(
        ledger=LedgerSettings(url=f"sqlite:///{path}"), schedule=ScheduleSettings(urgent_seconds=0.2)
    )
    facts: list[ConsumedRecord] = [record(event("e", priority="urgent"), 0), record(event("n", "Land2"), 1)]
    ledger.intake.record(facts)
    stop = threading.Event()
    thread = threading.Thread(target=run, args=[settings, stop])
    thread.start()
    try:
        wait_for(lambda: ledger.audit.counts()[EditState.PLANNED] == 1)
        wait_for(lambda: {"urgent_plan", "locality_check", "housekeeping"} <= set(ledger.jobs.last_success()))
    finally:
        stop.set()
        thread.join(timeout=20)
    assert not thread.is_alive()
    assert ledger.audit.counts()[EditState.PENDING] == 1
    check = ledger.checks.claim("worker", lease_seconds=60)
    assert check is not None
    assert check.suite is None


def test_scheduling_and_planning_do_not_import_torch() -> None:
    script = (
        "import sys, daemon.planning.scheduler, daemon.ledger.ledger_figures, monitoring.metrics.collector\n"
        "from planners import TfidfEmbedder\n"
        "TfidfEmbedder().embed(['a b', 'c'])\n"
        "import sklearn.cluster\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])
