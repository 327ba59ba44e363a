"""The adapter store: a folder of immutable shards. A shard is either whole or absent, whatever dies meanwhile."""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from editors.errors import ShardCorrupt, TemporaryError
from editors.mapped import MappedTensors, OpenMaps
from editors.shards import MAX_HEADER_BYTES, Shard, digest_begun, digest_of, parse_shard

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_WEIGHTS_BYTES = 64 * 1024**3
_PIECE_BYTES = 1024**2


class StoreUnwell(TemporaryError):
    """The store's disk is full or refuses to write for now."""


class AdapterStore:
    """Shards by content under `root/shards/<digest>/`; written aside, fsynced, renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._shards = root / "shards"
        self._maps = OpenMaps()

    def save(self, shard: Shard) -> str:
        """Write a shard durably and return its digest; saving what is already there changes nothing.

        Raises:
            StoreUnwell: the disk is full or read-only; nothing half-written is left under the shard's name.
        """
        header, weights = shard.payload
        digest = digest_of(header, [weights])
        target = self._shards / digest
        with _disk_errors(self.root):
            if target.exists():
                os.utime(target)  # young again: about to be published, not to be swept
                return digest
            self._shards.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=self._shards))
            try:
                _write_durably(aside / "shard.json", header)
                _write_durably(aside / "shard.safetensors", weights)
                _sync_folder(aside)
                try:
                    aside.rename(target)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
                _sync_folder(self._shards)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return digest

    def load(self, digest: str) -> Shard:
        """Open a shard and prove that it is the one that its digest names; its weights stay on disk until they are used.

        Raises:
            ShardCorrupt: it is missing, damaged, or of an unknown form.
        """
        if not _DIGEST.fullmatch(digest):
            raise ShardCorrupt(f"{digest!r} is not a shard's digest")
        folder = self._shards / digest
        files = (folder / "shard.json", folder / "shard.safetensors")
        for file, limit in zip(files, (MAX_HEADER_BYTES, _MAX_WEIGHTS_BYTES), strict=True):
            if not file.is_file():
                raise ShardCorrupt(f"{file} is missing: restore the store from a copy or roll back past it")
            if file.stat().st_size > limit:
                raise ShardCorrupt(f"{file} is larger than {limit} bytes")
        with _disk_errors(self.root):
            header = files[0].read_bytes()

            begun = digest_begun(header)

            def prove() -> None:  # asked as long as the shard is held: it must not hold the header's bytes
                found = begun.copy()
                for piece in _pieces(files[1]):
                    found.update(piece)
                if found.hexdigest() != digest:
                    raise ShardCorrupt(
                        f"shard {digest} does not match its digest: restore it from a copy or roll back"
                    )

            return parse_shard(header, MappedTensors(files[1], self._maps, prove=prove), digest=digest)

    def digests(self) -> set[str]:
        """All shards that are completely there."""
        if not self._shards.is_dir():
            return set()
        return {entry.name for entry in self._shards.iterdir() if _DIGEST.fullmatch(entry.name)}

    def sweep(self, *, keep: Iterable[str], older_than_seconds: float) -> int:
        """Remove shards that no generation names and leftovers of writers that died; returns how many.

        Only what is older than `older_than_seconds` goes: a younger one may be about to be published.
        """
        if not self._shards.is_dir():
            return 0
        wanted, removed = set(keep), 0
        horizon = time.time() - older_than_seconds
        with _disk_errors(self.root):
            for entry in self._shards.iterdir():
                with suppress(FileNotFoundError):  # its writer renamed it, or another worker sweeps too
                    if entry.name not in wanted and entry.stat().st_mtime < horizon:
                        shutil.rmtree(entry, ignore_errors=True)
                        self._maps.close(entry / "shard.safetensors")
                        removed += 1
        return removed


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    # Whatever is wrong with the disk is no edit's fault, and somebody can mend it.
    try:
        yield
    except OSError as error:
        raise StoreUnwell(
            f"cannot use the adapter store {root}: {error.strerror}; free space or mend the disk, "
            "Upkeep goes on by itself",
            retry_after_seconds=10.0,
        ) from error


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece


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
