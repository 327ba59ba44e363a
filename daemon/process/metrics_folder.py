"""The folder in which the roles of one supervisor count together: bounded over restarts, gone when nobody is left.

Prometheus' client keeps a file for each kind of metric and process. Files called by the process id stay behind with each
restart of a role; called by the role, the next one goes on counting in them.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import values

from daemon.process.temporary import require_temporary_folder

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "upkeep-metrics-"
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class MetricsFolder:
    """The folder; whoever inherits `lock` keeps others from sweeping it away."""

    path: Path
    lock: int


@contextmanager
def metrics_folder() -> Iterator[MetricsFolder]:
    """A fresh folder, removed at the end; what supervisors left behind that were killed, roles and all, goes first.

    Raises:
        NoTemporaryFolder: there is nowhere to write to.
    """
    _sweep(require_temporary_folder())
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=require_temporary_folder()))
    # Locked before it has its name: no sweep of another supervisor sees it free.
    aside = folder / f"{LOCK}-new"
    lock = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        aside.rename(folder / LOCK)
        yield MetricsFolder(folder, lock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def count_as(role: str) -> None:
    """From now on this process's metrics go into the role's files; called before any metric is made, at most once alive."""
    if VARIABLE in os.environ:
        values.ValueClass = values.MultiProcessValue(process_identifier=lambda: role)  # type: ignore[no-untyped-call]


def _sweep(temporary: Path) -> None:
    for lock in temporary.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), lock.open("rb") as file:  # somebody else's, or gone meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
