"""Readings of what may be slow or away (a broker, a Prometheus): taken beside the pages, which show the last one."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")

FRESH_SECONDS = 10.0
PATIENCE_SECONDS = 1.5


class BackgroundReading(Generic[_T]):
    """One reading, taken again when somebody asks and the last one is old; a page waits for it no longer than a moment."""

    def __init__(self, read: Callable[[], _T], *, fresh_seconds: float = FRESH_SECONDS) -> None:
        """
        Args:
            read: takes the reading; it never raises.
        """
        self._read = read
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._taken: _T | None = None
        self._taken_at = float("-inf")
        self._done: threading.Event | None = None  # set when the reading in hand has been taken

    def latest(self) -> _T | None:
        """The last reading; None: none was taken yet, and the first one takes its time."""
        with self._lock:
            if time.monotonic() - self._taken_at > self._fresh_seconds and self._done is None:
                self._done = threading.Event()
                threading.Thread(target=self._process, args=[self._done], name="reading", daemon=True).start()
            pending = self._done
        if pending is not None:
            pending.wait(PATIENCE_SECONDS)
        with self._lock:
            return self._taken

    def _process(self, done: threading.Event) -> None:
        try:
            taken = self._read()
            with self._lock:
                self._taken = taken
        finally:
            with self._lock:
                self._taken_at, self._done = time.monotonic(), None
            done.set()
