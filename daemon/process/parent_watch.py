"""Parent-death watch: a role stops on a signal, or when the supervisor that started it is gone.

A supervisor gives each child a pipe as standard input and never writes to it. However the supervisor dies,
also by `kill -9`, the kernel closes the pipe, and the child reads its end.
"""

import os
import signal
import sys
import threading
from types import FrameType

import structlog

VARIABLE = "UPKEEP_PARENT_WATCH"  # set by the supervisor: standard input is the pipe
ORPHAN_GRACE_SECONDS = 20.0


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT or the end of the supervisor sets; a second signal ends the process."""
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if os.environ.get(VARIABLE) == "stdin":
        threading.Thread(target=_watch_parent, args=(stop,), name="parent-watch", daemon=True).start()
    return stop


def _watch_parent(stop: threading.Event) -> None:
    # Not through sys.stdin: its lock, held by a thread that waits, ends an exiting interpreter with an abort.
    while os.read(sys.stdin.fileno(), 1):
        pass
    structlog.get_logger().warning("the supervisor is gone: stopping")
    stop.set()
    # Leases and the ledger's transactions make a hard end safe; a role that hangs must not live on unseen.
    timer = threading.Timer(ORPHAN_GRACE_SECONDS, os._exit, args=(1,))
    timer.daemon = True
    timer.start()
