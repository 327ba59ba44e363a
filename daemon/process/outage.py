"""A collaborator that is away: how long to wait before the next try, and one log message per while."""

import logging
import time
from collections.abc import Callable
from typing import Any

import structlog

from edits.errors import UpkeepError

REPEAT_SECONDS = 60.0
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 10.0


class Outage:
    """Logs once that something is away and once that it is back; while it lasts, once a minute."""

    def __init__(self, what: str, consequence: str) -> None:
        self._what = what
        self._consequence = consequence
        self._log: Any = structlog.get_logger(__name__)
        self._since: float | None = None
        self._logged_at = 0.0
        self._delay = FIRST_DELAY_SECONDS

    def failed(self, error: UpkeepError) -> float:
        """Note one failure; the seconds to wait before the next try."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._logged_at = now, now
            self._log.warning(f"{self._what} is away: {self._consequence}", error=str(error))
        elif now - self._logged_at >= REPEAT_SECONDS:
            self._logged_at = now
            self._log.warning(
                f"{self._what} is still away: {self._consequence}",
                error=str(error),
                away_seconds=round(now - self._since),
            )
        delay = self._delay
        self._delay = min(2 * self._delay, MAX_DELAY_SECONDS)
        return delay

    def ended(self) -> None:
        """Note a success."""
        if self._since is not None:
            away = round(time.monotonic() - self._since, 1)
            self._log.info(f"{self._what} is back", away_seconds=away)
        self._since, self._delay = None, FIRST_DELAY_SECONDS


class RepeatsOncePerMinute(logging.Filter):
    """For a handler: lets each message of the libraries named pass once a minute.

    During an outage kafka-python logs at every attempt why it failed: worth one line, not thousands.
    """

    def __init__(self, *libraries: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._libraries = libraries
        self._clock = clock
        self._passed_at: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a message that passed less than a minute ago, whatever its arguments were."""
        if record.name.partition(".")[0] not in self._libraries:
            return True
        place = (record.pathname, record.lineno)  # bounded by the library's own lines
        now = self._clock()
        if now - self._passed_at.get(place, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._passed_at[place] = now
        return True
