"""Nightly jobs while zones put their clocks forward and back, machines sleep, and clocks are simply wrong."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from support.ledger.ledger_backends import Clock

from daemon.ledger import Ledger, open_ledger
from daemon.planning.scheduler import Job, Scheduler
from daemon.planning.timetable import Cron, Every
from daemon.settings.crontab import checked, times_after
from monitoring.metrics.process_metrics import Metrics

# Gaps at two, at one, at midnight, of half an hour, back in Ramadan; a zone without any.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Kolkata",
)
LINES = ("0 2 * * *", "30 2 * * *", "0 0 * * *", "59 23 * * *")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", clock=clock) as opened:
        opened.migrate()
        yield opened


class Nights:
    """One nightly job on a ledger, driven by a simulated clock."""

    def __init__(self, ledger: Ledger, clock: Clock, line: str, zone: str) -> None:
        self.clock, self.zone, self.ledger = clock, ZoneInfo(zone), ledger
        self.cron = Cron(line, self.zone, grace_seconds=600)
        self.runs: list[datetime] = []
        self.job = Job(f"{zone} {line}", self.cron, self._work)
        self.start()

    def start(self) -> None:
        """Another process: it remembers nothing that the ledger does not."""
        self.scheduler = Scheduler(
            [self.job], ledger=self.ledger, metrics=Metrics(CollectorRegistry()), clock=self.clock
        )
        self.scheduler.run_due(self.job)

    def until(self, moment: datetime) -> None:
        """Keep the timetable up to a moment, waking at every slot and shortly before and after it."""
        while self.clock.now < moment:
            following = self.cron.after(self.clock.now)
            for seconds in (-1, 0, 30):
                self.clock.now = min(following + timedelta(seconds=seconds), moment)
                self.scheduler.run_due(self.job)

    def days(self) -> list[date]:
        return [run.astimezone(self.zone).date() for run in self.runs]

    def _work(self) -> str:
        self.runs.append(self.clock.now)
        return "done"


@pytest.mark.parametrize("zone", ZONES)
def test_in_a_year_each_nightly_job_runs_once_a_night(zone: str) -> None:
    start = datetime(2026, 1, 1, 12, tzinfo=ZoneInfo(zone))
    nights = [start.date() + timedelta(days=n) for n in range(1, 366)]
    for line in LINES:
        runs = list(islice(times_after(line, ZoneInfo(zone), start), 366))
        assert all(later > earlier for earlier, later in pairwise(runs))
        days = [run.astimezone(ZoneInfo(zone)).date() for run in runs]
        assert days[days[0] == start.date() :][:365] == nights


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_schedulers_that_sleep_and_restart_for_a_year_lose_no_night_and_double_none(
    ledger: Ledger, clock: Clock, zone: str
) -> None:
    moves = random.Random(zone)
    clock.now = datetime(2026, 1, 1, 12, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    first = clock.now
    nights = Nights(ledger, clock, "30 2 * * *", zone)
    while clock.now < first + timedelta(days=365):
        nights.until(clock.now + timedelta(days=moves.uniform(3, 12)))
        clock.advance(moves.uniform(0, 20 * 3600))  # asleep; then another process takes over
        nights.start()
    days = nights.days()
    assert len(days) == len(set(days)), "doubled"
    slept_over = timedelta(days=1)
    assert all(later - earlier <= slept_over for earlier, later in pairwise(days)), "lost"


def test_the_night_in_which_berlin_has_two_oclock_twice_ends(ledger: Ledger, clock: Clock) -> None:
    clock.now = datetime(2026, 10, 24, 12, tzinfo=UTC)
    nights = Nights(ledger, clock, "0 2 * * *", "Europe/Berlin")
    nights.until(datetime(2026, 10, 26, 12, tzinfo=UTC))
    assert [run.isoformat() for run in nights.runs] == [
        "2026-10-25T00:00:00+00:00",
        "2026-10-26T01:00:00+00:00",
    ]


def test_a_time_that_the_clock_skips_runs_when_the_gap_is_over(ledger: Ledger, clock: Clock) -> None:
    clock.now = datetime(2026, 3, 28, 12, tzinfo=UTC)
    nights = Nights(ledger, clock, "30 2 * * *", "Europe/Berlin")
    nights.until(datetime(2026, 3, 30, 12, tzinfo=UTC))
    assert [run.astimezone(nights.zone).strftime("%d %H:%M") for run in nights.runs] == [
        "29 03:00",
        "30 02:30",
    ]


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("0 2 * * 0", "Sun"),
        ("0 2 * * 7", "Sun"),
        ("0 2 * * 1", "Mon"),
        ("0 2 * * 6", "Sat"),
        ("0 2 * * mon", "Mon"),
        ("0 2 13 * 5", "Fri"),  # either of the two, as in cron: the 13th, or a Friday
    ],
)
def test_weekdays_are_those_of_cron(line: str, first: str) -> None:
    planned = next(times_after(checked(line), ZoneInfo("UTC"), datetime(2026, 3, 4, tzinfo=UTC)))
    assert planned.strftime("%a") == first


@pytest.mark.parametrize(
    "line", ["0 2 31 2 *", "0 2 30 2 *", "0 2 31 4,6,9,11 *", "* * * * * *", "0 24 * * *", ""]
)
def test_a_line_that_never_comes_or_is_none_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"five cron fields|never comes"):
        checked(line)


def test_missed_nights_are_caught_up_on_once_and_told(ledger: Ledger, clock: Clock) -> None:
    nights = Nights(ledger, clock, "0 2 * * *", "UTC")
    nights.until(datetime(2026, 5, 2, 12, tzinfo=UTC))
    clock.now = datetime(2026, 5, 5, 9, tzinfo=UTC)  # down for three nights
    with capture_logs() as logs:
        nights.start()
        nights.start()
    assert nights.runs[1:] == [datetime(2026, 5, 5, 9, tzinfo=UTC)]
    warned = [entry for entry in logs if "missed" in entry["event"]]
    assert [(entry["log_level"], entry["missed"]) for entry in warned] == [("warning", 3)]
    nights.until(datetime(2026, 5, 6, 12, tzinfo=UTC))
    assert len(nights.runs) == 3


def test_a_job_that_is_kept_for_the_first_time_has_missed_nothing(ledger: Ledger, clock: Clock) -> None:
    nights = Nights(ledger, clock, "0 2 * * *", "UTC")
    assert nights.runs == []
    clock.advance(86_400)  # and was down in its first night
    nights.start()
    assert len(nights.runs) == 1


def test_a_success_dated_in_the_future_silences_nobody(ledger: Ledger, clock: Clock) -> None:
    right = clock.now
    clock.advance(90 * 86_400)
    nights = Nights(ledger, clock, "0 2 * * *", "UTC")
    nights.until(clock.now + timedelta(days=1))
    beats: list[int] = []
    beat = Job("beat", Every(5.0), lambda: str(beats.append(1)))
    nights.scheduler.run_due(beat)
    clock.now = right  # the clock is put right
    nights.start()
    nights.runs.clear()
    nights.until(right + timedelta(days=91))
    assert len(nights.runs) == 91, "also in the night that had its run under the wrong clock"
    clock.now = right + timedelta(days=90, seconds=86_400)
    nights.scheduler.run_due(beat)
    assert len(beats) == 2


def test_an_hour_ahead_costs_no_beat_when_it_is_taken_back(ledger: Ledger, clock: Clock) -> None:
    beats: list[datetime] = []
    beat = Job("urgent_plan", Every(5.0), lambda: str(beats.append(clock.now)))
    scheduler = Scheduler([beat], ledger=ledger, metrics=Metrics(CollectorRegistry()), clock=clock)
    for _ in range(12):
        scheduler.run_due(beat)
        clock.advance(300)
    clock.advance(-3593)
    for _ in range(12):
        scheduler.run_due(beat)
        clock.advance(300)
    assert len(beats) == 24
