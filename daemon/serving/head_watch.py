"""The newest published generation as this process last heard of it: what health answers from, without asking the ledger."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from daemon.ledger import Ledger
from daemon.ledger.errors import LedgerUnavailable

# Longer than a poll and one that failed: one slow answer is no outage.
STALE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Head:
    """The newest published generation as the ledger knows it."""

    number: int
    base_hash: str
    created_at: str
    cause: str


class HeadWatch:
    """Polled by one thread; read by any, at once, however long the ledger keeps the poll waiting."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        stale_seconds: float = STALE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._heard: tuple[float, Head | None] | None = None

    def poll(self) -> None:
        """Ask the ledger.

        Raises:
            LedgerUnavailable: it does not answer; what was heard last grows old.
        """
        newest = self._ledger.generations.newest()
        head = (
            None
            if newest is None
            else Head(newest.number, newest.base_hash, newest.at.isoformat(), newest.cause)
        )
        self._heard = (self._clock(), head)

    def head(self) -> Head | None:
        """What was heard last; None: nothing is published.

        Raises:
            LedgerUnavailable: that is too long ago.
        """
        if self._heard is None:
            raise LedgerUnavailable("the ledger has not answered yet")
        at, head = self._heard
        if (silent := self._clock() - at) > self._stale_seconds:
            raise LedgerUnavailable(f"the ledger has not answered for {silent:.0f} seconds")
        return head
