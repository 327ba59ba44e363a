"""Crontab lines as cron itself reads them, as instants in UTC: a clock that is put forward or back loses and doubles none.

A time that the zone skips falls on the first minute after the gap; one that the zone has twice counts the first time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = 5
# How far back the last planned time is looked for, the likeliest first: a leap day's is at most eight years ago.
_LOOK_BACK = tuple(timedelta(days=days) for days in (0.1, 2, 40, 400, 3_000, 18_000))


def checked(line: str) -> str:
    """The line, if cron would understand it and it has a time that ever comes.

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    if len(line.split()) != FIELDS:
        raise ValueError('must be five cron fields, such as "0 2 * * *" for two at night')
    try:
        next(CronSim(line, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(
            f'must be five cron fields, such as "0 2 * * *" for two at night: {str(error).lower()}'
        ) from None
    except StopIteration:
        raise ValueError("names a day that never comes") from None
    return line


def times_after(line: str, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    """The planned times after a moment, in UTC, each later than the one before."""
    last = moment.astimezone(UTC)
    for local in CronSim(line, moment.astimezone(zone)):
        planned = local.astimezone(UTC)
        if planned > last:  # in the hour that a zone has twice, a search by the wall clock begins too early
            last = planned
            yield planned


def last_time(line: str, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The last planned time that is not after `now`; None where there was none for decades."""
    for look_back in _LOOK_BACK:
        last = None
        for planned in times_after(line, zone, now - look_back):
            if planned > now:
                break
            last = planned
        if last is not None:
            return last
    return None
