"""The folder in which the roles of one `upkeep run` count together, a file for each role and kind of metric.

A role that is started again goes on counting in its own files: named by process, they would grow by every restart.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import values

MULTIPROC_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # set by the supervisor for all of its roles
_PREFIX = "upkeep-metrics-"
_NAME = re.compile(rf"{_PREFIX}(\d+)-.+")


def count_as(role: str) -> None:
    """Let this process count in the role's files, where it runs under a supervisor; before any metric is made."""
    if MULTIPROC_VARIABLE in os.environ:
        values.ValueClass = values.MultiProcessValue(lambda: role)  # type: ignore[no-untyped-call]


@contextmanager
def metrics_folder(parent: Path) -> Iterator[Path]:
    """While the block runs, a fresh folder; those that killed processes of ours left are removed."""
    for left in parent.glob(f"{_PREFIX}*"):
        found = _NAME.fullmatch(left.name)
        if found is not None and not _runs(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    """Whether it may be the folder of another supervisor; in a container, the one before us had our own number."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
