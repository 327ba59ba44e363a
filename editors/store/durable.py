"""Folders that are whole or absent, whatever dies meanwhile: written aside, fsynced, renamed."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edits.errors import TemporaryError

_PIECE_BYTES = 1024**2


class StoreUnwell(TemporaryError):
    """The store's disk is full or refuses to write for now."""


def write_folder(target: Path, files: Mapping[str, bytes], *, mode: int = 0o700) -> None:
    """Write a folder of these files under its name; where one of that name has been written meanwhile, that one stays.

    Args:
        mode: the folder's rights; the files get the same without the right to execute.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
    try:
        for name, data in files.items():
            _write_durably(aside / name, data)
            (aside / name).chmod(mode & 0o666)
        aside.chmod(mode)
        _sync_folder(aside)
        try:
            aside.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Whatever is wrong with the disk is no edit's fault, and somebody can mend it: OSError becomes StoreUnwell."""
    try:
        yield
    except OSError as error:
        raise StoreUnwell(
            f"cannot use the adapter store {root}: {error.strerror}; free space or mend the disk, "
            "Upkeep goes on by itself",
            retry_after_seconds=10.0,
        ) from error


def pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes, a piece at a time."""
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece


def sha256_of(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
