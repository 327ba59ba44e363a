"""The metrics of all processes that count in one folder, also while one of them is just beginning to."""

import struct
import time
from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

ATTEMPTS = 20
WAIT_SECONDS = 0.01


class UnionCollector(Collector):
    """What prometheus_client's own collector says; it fails on a file that was made this moment and is still empty."""

    def __init__(self, folder: str) -> None:
        self._inner = MultiProcessCollector(None, path=folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Read all files; as soon as the newest of them has its first bytes."""
        for left in reversed(range(ATTEMPTS)):
            try:
                found: Iterable[Metric] = list(self._inner.collect())  # type: ignore[no-untyped-call]
            except struct.error:  # a scrape must not fail because a role is started again
                if not left:
                    raise
                time.sleep(WAIT_SECONDS)
            else:
                yield from found
                return
