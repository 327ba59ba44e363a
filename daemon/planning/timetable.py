"""When a job is due, as slots that every scheduler derives alike from the same settings and the time alone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from daemon.settings.crontab import last_time, times_after

RETRY_SECONDS = 120.0  # until a cron slot that nobody finished well is tried again
LATE_RETRY_SECONDS = 3600.0  # the same where it is later than its grace
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a slot.

    Attributes:
        key: what all schedulers call it; the ledger gives it to one of them.
        until: when the next one is due, or the next slot.
        late: the slot's grace is over: this catches up on what was missed.
    """

    key: str
    until: datetime
    late: bool = False


class Timetable(Protocol):
    """When a job is due: its slot that has begun, and the tries that are left in it."""

    @property
    def repeats(self) -> bool:
        """Whether a slot that ended badly is tried again."""

    def slot(self, now: datetime) -> datetime | None:
        """When the slot that has begun at `now` began; None: none has."""

    def attempt(self, slot: datetime, now: datetime) -> Attempt:
        """The try at a slot that is due at `now`."""

    def after(self, now: datetime) -> datetime:
        """When the next slot begins."""

    def missed(self, since: datetime, slot: datetime) -> int:
        """How many slots began after `since`, up to `slot` itself."""


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds, counted from the epoch, so that all schedulers keep one beat; a beat is tried once."""

    seconds: float
    repeats: bool = False

    def slot(self, now: datetime) -> datetime | None:
        """The beat that has begun."""
        return EPOCH + (now - EPOCH) // self._step * self._step

    def attempt(self, slot: datetime, now: datetime) -> Attempt:
        """The only one."""
        return Attempt(slot.isoformat(), slot + self._step)

    def after(self, now: datetime) -> datetime:
        """The next beat."""
        return EPOCH + ((now - EPOCH) // self._step + 1) * self._step

    def missed(self, since: datetime, slot: datetime) -> int:
        """Beats are not caught up on: the next one does as well."""
        return 0

    @property
    def _step(self) -> timedelta:
        return timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    """At the times of a crontab line in a time zone.

    A slot that ended badly, or whose scheduler died in it, is tried again; when `grace_seconds` are over, once an hour,
    until the next slot begins. So nights that a machine was down for are made up for once, by the last of them.
    """

    line: str
    timezone: ZoneInfo
    grace_seconds: float
    retry_seconds: float = RETRY_SECONDS
    late_retry_seconds: float = LATE_RETRY_SECONDS
    repeats: bool = True

    def slot(self, now: datetime) -> datetime | None:
        """The last planned time; None where there was none for decades."""
        return last_time(self.line, self.timezone, now)

    def attempt(self, slot: datetime, now: datetime) -> Attempt:
        """The try that is due now, by the time that has passed since the slot began."""
        passed = (now - slot).total_seconds()
        if passed < self.grace_seconds:
            number = int(passed // self.retry_seconds)
            until = min((number + 1) * self.retry_seconds, self.grace_seconds)
            name = "" if number == 0 else f" attempt {number + 1}"
            return Attempt(slot.isoformat() + name, slot + timedelta(seconds=until))
        number = int((passed - self.grace_seconds) // self.late_retry_seconds)
        until = self.grace_seconds + (number + 1) * self.late_retry_seconds
        key = f"{slot.isoformat()} late attempt {number + 1}"
        return Attempt(key, slot + timedelta(seconds=until), late=True)

    def after(self, now: datetime) -> datetime:
        """The next planned time; far ahead where there is none for decades."""
        return next(times_after(self.line, self.timezone, now), now + timedelta(days=366))

    def missed(self, since: datetime, slot: datetime) -> int:
        """How many planned times lie after `since`, up to `slot`; counted up to a thousand."""
        count = 0
        for planned in times_after(self.line, self.timezone, since):
            if planned > slot or count == 1000:
                break
            count += 1
        return count
