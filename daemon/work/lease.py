"""Keep a lease alive while work under it goes on: one thread that beats until the block ends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from daemon.ledger.errors import LeaseLost
from edits.errors import TemporaryError

_log = structlog.get_logger(__name__)


@contextmanager
def keep_alive(beat: Callable[[], None], *, every_seconds: float) -> Iterator[None]:
    """Call `beat` every so many seconds, from a thread, while the block runs.

    A lease that is lost meanwhile stops the beat only: whoever finishes the work is refused its stale token.
    """
    done = threading.Event()

    def loop() -> None:
        while not done.wait(every_seconds):
            try:
                beat()
            except LeaseLost as error:
                _log.warning("lease lost", reason=str(error))
                return
            except TemporaryError as error:
                _log.warning("heartbeat failed, trying again", reason=str(error))

    thread = threading.Thread(target=loop, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
