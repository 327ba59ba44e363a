"""Adapters' folders that nobody needs any more are removed: the store can make each of them again.

Several gateways and an engine share the folder without talking. What another gateway needs it touches now and then; what an
engine has loaded it may read again (vLLM does, for what left its memory).
"""

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import structlog

from daemon.gateway.edits import PREFIX

MAX_LOOKED_AT = 1_000_000  # names of the folder in one round
MAX_REMOVED = 1_000  # folders in one round: the rest waits for the next
_ADAPTER = re.compile(rf"{re.escape(PREFIX)}[A-Za-z0-9_-]{{1,200}}-[0-9a-f]{{12}}")
_ASIDE = re.compile(
    rf"\.{_ADAPTER.pattern}-\w+"
)  # what a gateway that was killed left half written or half removed

_log = structlog.get_logger()


def touch(folder: Path, names: Iterable[str]) -> None:
    """Say that adapters are needed; those that are not there, or not ours to touch, are passed over."""
    for name in names:
        try:
            os.utime(folder / name)
        except OSError:
            continue


def adapter_names(folder: Path) -> list[str]:
    """What is named as an adapter there, or as what was left of one; links and files are not."""
    try:
        with os.scandir(folder) as entries:
            return [
                entry.name
                for entry in islice(entries, MAX_LOOKED_AT)
                if (_ADAPTER.fullmatch(entry.name) or _ASIDE.fullmatch(entry.name))
                and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:  # it is made with the first adapter
        return []


def remove_untouched(folder: Path, names: Iterable[str], *, for_seconds: float) -> int:
    """Remove those of the named folders that nobody touched for so long, at most `MAX_REMOVED`; how many."""
    before, removed = time.time() - for_seconds, 0
    left: Counter[str] = Counter()
    for name in names:
        try:
            removed += _removed(folder / name, before)
        except FileNotFoundError:  # another gateway was first
            continue
        except OSError as error:  # another gateway's, or the disk refuses
            left[error.strerror or type(error).__name__] += 1
        if removed == MAX_REMOVED:
            break
    if left:
        _log.warning("adapter_folders_not_removed", left=dict(left), removed=removed)
    elif removed:
        _log.info("adapter_folders_removed", folders=removed)
    return removed


def _removed(path: Path, before: float) -> bool:
    if path.stat().st_mtime >= before:
        return False
    # At once under a name that nobody asks for: no engine finds half an adapter.
    aside = path if path.name.startswith(".") else path.with_name(f".{path.name}-removed")
    if aside != path:
        path.rename(aside)
    shutil.rmtree(aside)
    return True
