"""The folder that `upkeep run --embedded` keeps everything in, for one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edits.errors import PermanentError

LOCK = ".lock"


class StateInUse(PermanentError):
    """Another process works in this folder."""


class StateUnusable(PermanentError):
    """The folder cannot be made or written to."""


@contextmanager
def state_folder(folder: Path) -> Iterator[Path]:
    """The folder as an absolute path, made where it is missing; nobody else has it while the block runs.

    The kernel takes the lock back however this process ends.

    Raises:
        StateInUse: another process has it.
        StateUnusable: it cannot be made or written to.
    """
    place = Path(os.path.abspath(folder.expanduser()))
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnusable(
            f"the folder {place} cannot be used: {error.strerror}; name another one with --state"
        ) from error
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateInUse(_message(place, file.read(32).strip())) from None
        except OSError as error:
            raise StateUnusable(f"the folder {place} cannot be locked: {error.strerror}") from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield place


def _message(place: Path, owner: str) -> str:
    who = f"process {owner}" if owner.isdigit() else "another process"
    return f"{who} runs in the folder {place} already: stop it, or name another folder with --state"
