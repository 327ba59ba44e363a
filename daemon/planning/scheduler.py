"""The scheduling role: decides when to plan, to check and to clean up; each slot of time is used once.

Several schedulers may run on one ledger, against the failure of one machine. All derive the same slots from
the same settings, and the ledger gives each slot to one of them.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from daemon.ingest.consumer_lag import watch_lag
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.ledger.values import CheckKind, Lane
from daemon.planning.cycle import draft_cycle, plan_cycle
from daemon.planning.servable import log_engine
from daemon.process.outage import Outage
from daemon.process.settings import Settings
from daemon.process.settings_tables import ScheduleSettings
from daemon.process.telemetry import role_metrics
from edits.errors import TemporaryError
from monitoring.metrics import Metrics

KEEP_DAYS = 7.0  # of what the ledger need not keep: sent outcomes, slots, workers long gone
RETRY_SECONDS = 120.0  # until a cron slot that nobody finished well is tried again
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of a job: from `start` on it is due, after `until` it is no longer worth trying again."""

    start: datetime
    until: datetime
    retry_seconds: float

    def key(self, now: datetime) -> str:
        """What all schedulers call this slot; a later attempt at it has a key of its own."""
        attempt = int((now - self.start).total_seconds() // self.retry_seconds)
        planned = self.start.astimezone(UTC).isoformat()
        return planned if attempt == 0 else f"{planned} attempt {attempt + 1}"

    def next_attempt(self, now: datetime) -> datetime:
        """When the key changes."""
        attempts = (now - self.start).total_seconds() // self.retry_seconds + 1
        return self.start + timedelta(seconds=attempts * self.retry_seconds)


class Timetable(Protocol):
    """When a job is due: for APScheduler as a trigger, for the ledger as slots."""

    def trigger(self, now: datetime) -> Any: ...
    def slot(self, now: datetime) -> Slot | None: ...


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds, counted from the epoch, so that all schedulers keep one beat."""

    seconds: float

    def trigger(self, now: datetime) -> Any:
        """Fires on the beat, first at the next one."""
        return IntervalTrigger(seconds=self.seconds, start_date=self._beat(now) + self._step, timezone=UTC)

    def slot(self, now: datetime) -> Slot | None:
        """The beat that has begun; it is never tried again, since the next one follows soon."""
        return Slot(self._beat(now), now, self.seconds)

    def _beat(self, now: datetime) -> datetime:
        return EPOCH + (now - EPOCH) // self._step * self._step

    @property
    def _step(self) -> timedelta:
        return timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    """At the times of a crontab line in a time zone; up to `grace_seconds` late, as after a restart."""

    line: str
    timezone: ZoneInfo
    grace_seconds: float
    retry_seconds: float = RETRY_SECONDS

    def trigger(self, now: datetime) -> Any:
        """Fires at each time of the crontab line."""
        return CronTrigger.from_crontab(self.line, timezone=self.timezone)

    def slot(self, now: datetime) -> Slot | None:
        """The last planned time that is at most `grace_seconds` ago; None where there was none."""
        grace = timedelta(seconds=self.grace_seconds)
        trigger = self.trigger(now)
        planned = trigger.get_next_fire_time(None, now - grace)
        last = None
        while planned is not None and planned <= now:
            last = planned
            planned = trigger.get_next_fire_time(planned, planned + timedelta(microseconds=1))
        return None if last is None else Slot(last, last + grace, self.retry_seconds)


@dataclass(frozen=True, slots=True)
class Job:
    """Work under the name that the ledger and the metrics use; `work` returns what it did in a few words."""

    name: str
    timetable: Timetable
    work: Callable[[], str]


def jobs_of(settings: Settings, ledger: Ledger) -> tuple[Job, ...]:
    """The jobs of the daemon; the parity check is one of them where a gateway is named."""
    schedule = settings.schedule
    grace = float(schedule.misfire_grace_seconds)
    zone = ZoneInfo(schedule.timezone)
    nightly = Cron(schedule.nightly_cron, zone, grace)
    full = Cron(schedule.full_check_cron, zone, grace)
    parity = Job(
        "parity_check",
        Every(settings.gateway.parity_seconds),
        lambda: _request_check(ledger, CheckKind.PARITY),
    )
    return (
        Job("nightly_plan", nightly, lambda: _nightly_plan(ledger, settings)),
        Job("urgent_plan", Every(schedule.urgent_seconds), lambda: _plan(ledger, settings, Lane.URGENT)),
        Job(
            "locality_check", Every(schedule.check_seconds), lambda: _request_check(ledger, CheckKind.SAMPLE)
        ),
        Job("full_check", full, lambda: _request_check(ledger, CheckKind.FULL)),
        Job("housekeeping", Every(schedule.housekeeping_seconds), lambda: _housekeep(ledger)),
        *(() if settings.gateway.url is None else (parity,)),
    )


class Scheduler:
    """Runs jobs at their times until `stop` is set; a job that fails is logged and recorded."""

    def __init__(
        self,
        jobs: Sequence[Job],
        schedule: ScheduleSettings,
        *,
        ledger: Ledger,
        metrics: Metrics,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._jobs = jobs
        self._schedule = schedule
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._stop = threading.Event()
        self._outage = Outage("the ledger", "no job can start")

    def run(self, stop: threading.Event) -> None:
        """Keep the timetable until `stop` is set; then let the jobs in hand end."""
        scheduler = BackgroundScheduler(timezone=ZoneInfo(self._schedule.timezone))
        for job in self._jobs:
            now = self._clock()
            scheduler.add_job(
                self.run_slot,
                job.timetable.trigger(now),
                args=[job],
                id=job.name,
                # After a pause (a laptop asleep, a busy machine) one run makes up for all that were missed
                coalesce=True,
                # unless it is so late that the next slot does as well.
                misfire_grace_time=self._schedule.misfire_grace_seconds,
                max_instances=1,  # a slow run is not joined by another
                next_run_time=now,  # a slot that is due already, as after a restart, is used at once
            )
        scheduler.start()
        _log.info("scheduling", jobs=[job.id for job in scheduler.get_jobs()])
        try:
            stop.wait()
        finally:
            self._stop.set()
            scheduler.shutdown(wait=True)

    def run_slot(self, job: Job) -> None:
        """Run the job in the slot that has begun, unless some scheduler did or does.

        A cron slot that ends badly, or whose scheduler died in it, is tried again while it is worth it.
        """
        slot = job.timetable.slot(self._clock())
        while slot is not None and not self._stop.is_set():
            now = self._clock()
            try:
                done = self._succeeded_since(job, slot) or self._attempt(job, slot.key(now))
                self._outage.ended()
            except TemporaryError as error:
                done = False
                self._outage.failed(error)
            if done:
                return
            again = slot.next_attempt(now)
            if again >= slot.until:
                return
            self._stop.wait((again - now).total_seconds())

    def _succeeded_since(self, job: Job, slot: Slot) -> bool:
        last = self._ledger.jobs.last_success().get(job.name)
        return last is not None and last >= slot.start

    def _attempt(self, job: Job, key: str) -> bool:
        """Whether the slot was ours and the job ended well."""
        if not self._ledger.jobs.try_start(job.name, key):
            return False
        try:
            ok, detail = True, job.work()
        except TemporaryError as error:
            ok, detail = False, str(error)
            _log.warning("job put off: something is away for now", job=job.name, slot=key, reason=detail)
        except Exception as error:  # the scheduler outlives whatever a job meets
            ok, detail = False, f"{type(error).__name__}: {error}"
            _log.exception("job failed", job=job.name, slot=key)
        self._metrics.job_runs.labels(job.name, "succeeded" if ok else "failed").inc()
        self._ledger.jobs.finished(job.name, key, ok, detail)
        return ok


def run(settings: Settings, stop: threading.Event) -> None:
    """The role `upkeep schedule`.

    Raises:
        PermanentError: the ledger cannot be used at all.
        TemporaryError: the ledger is not to be had at this moment.
    """
    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        log_engine(settings.serve.engine)
        jobs, metrics = jobs_of(settings, ledger), role_metrics(settings)
        every = settings.schedule.lag_seconds
        lag = threading.Thread(
            target=lambda: watch_lag(settings.kafka, metrics.group_lag, every_seconds=every, stop=stop),
            name="lag",
            daemon=True,  # a broker that does not answer must not keep the role from ending
        )
        lag.start()
        Scheduler(jobs, settings.schedule, ledger=ledger, metrics=metrics).run(stop)


def _plan(ledger: Ledger, settings: Settings, *lanes: Lane) -> str:
    stored = plan_cycle(ledger, settings, lanes=lanes)
    return "nothing is pending" if stored is None else f"plan {stored.id}: {len(stored.batches)} batches"


def _nightly_plan(ledger: Ledger, settings: Settings) -> str:
    """Plan both lanes; with `schedule.approval` the batch lane's plan waits for a person, and the urgent lane goes on."""
    if not settings.schedule.approval:
        return _plan(ledger, settings, Lane.URGENT, Lane.BATCH)
    done = _plan(ledger, settings, Lane.URGENT)
    drafted = draft_cycle(ledger, settings, lanes=(Lane.BATCH,))
    if drafted is None:
        return done
    proposal = ledger.proposals.propose(drafted.plan)
    _log.info("a plan waits for approval", proposal=proposal, batches=len(drafted.plan.batches))
    return f"{done}; proposed plan {proposal} waits for approval: {len(drafted.plan.batches)} batches"


def _request_check(ledger: Ledger, kind: CheckKind) -> str:
    return f"{kind.value} check {ledger.checks.request(None, 'schedule', kind=kind)} is asked for"


def _housekeep(ledger: Ledger) -> str:
    done = ledger.control.housekeep(KEEP_DAYS)
    return f"{done.leases_returned} leases returned, {done.rows_deleted} rows deleted"
