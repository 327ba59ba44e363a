"""Times as people type them: how long ago, or a moment."""

import re
from datetime import UTC, datetime, timedelta

from edits.errors import BadRequest

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")


def parse_moment(text: str, now: datetime) -> datetime:
    """`8h`, `30m`, `2d` ago, or an ISO 8601 time; one without an offset is UTC.

    Raises:
        BadRequest: it is neither.
    """
    if (ago := _AGO.fullmatch(text.strip().lower())) is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text.strip().upper())
    except ValueError:
        raise BadRequest(f"{text[:60]!r} is no time: use 8h, 30m, 2d, or 2026-05-01T12:00Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
