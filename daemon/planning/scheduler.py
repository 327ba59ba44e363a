"""The scheduling role: decides when to plan, to check and to clean up; each slot of time is used once.

Several schedulers may run on one ledger, against the failure of one machine. All derive the same slots from
the same settings, and the ledger gives each slot to one of them.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

from daemon.ingest.consumer_lag import watch_lag
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.ledger.queue.jobs import MAX_SKEW
from daemon.ledger.values import CheckKind, Lane, PlanCause, PlanTrigger
from daemon.planning.cycle import draft_cycle, plan_cycle
from daemon.planning.servable import log_engine
from daemon.planning.timetable import Attempt, Cron, Every, Timetable
from daemon.process.outage import Outage
from daemon.process.telemetry import role_metrics
from daemon.settings.settings import Settings
from edits.errors import TemporaryError
from edits.text import counted
from monitoring.metrics.process_metrics import Metrics

KEEP_DAYS = 7.0  # of what the ledger need not keep: sent outcomes, slots, workers long gone
# The longest sleep: the wall clock may be put forward or back while a job waits for its time.
MAX_WAIT_SECONDS = 30.0
CLOCK_LOOK_SECONDS = 5.0  # how often the wall clock is looked at, and by how much it may drift meanwhile

_log = structlog.get_logger(__name__)


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
        Job("urgent_plan", Every(schedule.urgent_seconds), lambda: _urgent_plan(ledger, settings)),
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
        *,
        ledger: Ledger,
        metrics: Metrics,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._jobs = jobs
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._outage = Outage("the ledger", "no job can start")
        self._done: dict[str, datetime] = {}  # job -> the slot that needs no more tries
        self._latest: datetime | None = None
        self._running = {job.name: threading.Lock() for job in jobs}

    def run(self, stop: threading.Event) -> None:
        """Keep the timetable until `stop` is set; then let the jobs in hand end."""
        with _timer(threads=len(self._jobs)) as timer:
            self._set_all(timer)
            _log.info("scheduling", jobs=[job.name for job in self._jobs])
            behind = _wall_offset()
            while not stop.wait(CLOCK_LOOK_SECONDS):
                # APScheduler waits for instants of the wall clock: put back, it would sleep for as long again.
                if abs(_wall_offset() - behind) > CLOCK_LOOK_SECONDS:
                    behind = _wall_offset()
                    self._set_all(timer)

    def run_due(self, job: Job) -> float:
        """Run the job if its slot has begun and no scheduler did or does; the seconds until it may be due again.

        What a cron slot has missed is made up for once, by its last slot, with a warning.
        """
        now = self._clock()
        slot = job.timetable.slot(now)
        attempt = None if slot is None else job.timetable.attempt(slot, now)
        again = job.timetable.after(now)
        if slot is not None and attempt is not None and self._done.get(job.name) != slot:
            try:
                self._mind_the_clock(now)
                done = self._is_done(job, slot, attempt, now) or self._try(job, slot, attempt)
                self._outage.ended()
            except TemporaryError as error:
                return self._outage.failed(error)
            if done or not job.timetable.repeats:
                self._done[job.name] = slot
            else:
                again = min(again, attempt.until)
        return min(max((again - self._clock()).total_seconds(), 0.0), MAX_WAIT_SECONDS)

    def _set_all(self, timer: BackgroundScheduler) -> None:
        for job in self._jobs:
            self._set(timer, job, seconds=0)

    def _set(self, timer: BackgroundScheduler, job: Job, *, seconds: float) -> None:
        """Look at a job after so many seconds; there is one such look ahead of each."""
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        timer.add_job(self._keep, DateTrigger(at, UTC), (timer, job), id=job.name, replace_existing=True)

    def _keep(self, timer: BackgroundScheduler, job: Job) -> None:
        if not self._running[job.name].acquire(blocking=False):
            return  # never beside itself: who runs it looks again afterwards
        wait = MAX_WAIT_SECONDS
        try:
            wait = self.run_due(job)
        except Exception:  # the scheduler outlives whatever a job meets
            _log.exception("job not begun", job=job.name)
        finally:
            self._running[job.name].release()
        self._set(timer, job, seconds=wait)

    def _mind_the_clock(self, now: datetime) -> None:
        """At the first look, and when the clock has been put back: slots that it was ahead in are free again."""
        if self._latest is None or now < self._latest - MAX_SKEW:
            if forgotten := self._ledger.jobs.forget_ahead():
                _log.warning("the clock was ahead: slots that it used are free again", slots=forgotten)
            self._latest = now
        self._latest = max(self._latest, now)

    def _is_done(self, job: Job, slot: datetime, attempt: Attempt, now: datetime) -> bool:
        """Whether nothing is left to do in this slot; that it was missed is told."""
        if not job.timetable.repeats:
            return False
        known = self._ledger.jobs.slot_history(job.name, slot.isoformat())
        last = known.last_success
        if last is not None and last > now + MAX_SKEW:
            _log.warning("a success lies ahead of the clock: it does not count", job=job.name, at=str(last))
            last = None
        if known.succeeded or (last is not None and last >= slot):
            return True
        since = known.kept_since if last is None else last
        if not attempt.late or since >= slot:
            return attempt.late
        _log.warning(
            "a planned time was missed: catching up once",
            job=job.name,
            planned=slot.isoformat(),
            late_seconds=round((now - slot).total_seconds()),
            missed=job.timetable.missed(since, slot),
        )
        return False

    def _try(self, job: Job, slot: datetime, attempt: Attempt) -> bool:
        """Whether the try was ours and the job ended well."""
        if not self._ledger.jobs.try_start(job.name, attempt.key):
            return False
        key = attempt.key
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


@contextmanager
def _timer(*, threads: int) -> Iterator[BackgroundScheduler]:
    """While the block runs, APScheduler calls what is due, each job in a thread of its own; at the end it lets them end.

    It steps in UTC from instant to instant; what a job's times are, and who runs it, the timetable and the ledger say.
    """
    executor = ThreadPoolExecutor(2 * threads)
    timer = BackgroundScheduler(
        timezone=UTC,
        executors={"default": executor},
        job_defaults={"misfire_grace_time": None, "max_instances": 2},
    )
    timer.start()
    try:
        yield timer
    finally:
        # It would wait under the lock that a job in hand needs to set its next look.
        timer.shutdown(wait=False)
        executor.shutdown(wait=True)


def _wall_offset() -> float:
    """Seconds that the wall clock is ahead of one that nobody can set."""
    return time.time() - time.monotonic()


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
        Scheduler(jobs, ledger=ledger, metrics=metrics).run(stop)


def _plan(ledger: Ledger, settings: Settings, trigger: PlanTrigger, *lanes: Lane) -> str:
    stored = plan_cycle(ledger, settings, lanes=lanes, cause=PlanCause(trigger))
    if stored is None:
        return "nothing is pending"
    return f"plan {stored.id}: {counted(len(stored.batches), 'batch')}"


def _urgent_plan(ledger: Ledger, settings: Settings) -> str:
    return _plan(ledger, settings, PlanTrigger.URGENT, Lane.URGENT)


def _nightly_plan(ledger: Ledger, settings: Settings) -> str:
    """Plan both lanes; with `schedule.approval` the batch lane's plan waits for a person, and the urgent lane goes on."""
    if not settings.schedule.approval:
        return _plan(ledger, settings, PlanTrigger.NIGHTLY, Lane.URGENT, Lane.BATCH)
    done = _plan(ledger, settings, PlanTrigger.NIGHTLY, Lane.URGENT)
    drafted = draft_cycle(ledger, settings, lanes=(Lane.BATCH,))
    if drafted is None:
        return done
    proposal = ledger.proposals.propose(drafted.plan)
    _log.info("a plan waits for approval", proposal=proposal, batches=len(drafted.plan.batches))
    return (
        f"{done}; proposed plan {proposal} waits for approval: {counted(len(drafted.plan.batches), 'batch')}"
    )


def _request_check(ledger: Ledger, kind: CheckKind) -> str:
    return f"{kind.value} check {ledger.checks.request(None, 'schedule', kind=kind)} is asked for"


def _housekeep(ledger: Ledger) -> str:
    done = ledger.control.housekeep(KEEP_DAYS)
    return f"{done.leases_returned} leases returned, {done.rows_deleted} rows deleted"
