"""A shard's tensors as the store's file holds them: mapped, read when touched, so that host memory does not grow with T."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from edits.errors import ShardDamaged

# A process may hold some 65,000 maps (vm.max_map_count), and a shard of one urgent edit takes one.
MAX_OPEN_MAPS = 4096

_Fingerprint = tuple[int, int, int]


class OpenMaps:
    """The maps used last; an older one is closed and opened again when it is asked for."""

    def __init__(self, limit: int = MAX_OPEN_MAPS) -> None:
        self._limit = limit
        self._maps: OrderedDict[Path, dict[str, Tensor]] = OrderedDict()

    def get(self, path: Path) -> dict[str, Tensor] | None:
        """The open map of a file; None: it is closed."""
        tensors = self._maps.get(path)
        if tensors is not None:
            self._maps.move_to_end(path)
        return tensors

    def put(self, path: Path, tensors: dict[str, Tensor]) -> None:
        """Keep a map open; the one that was used longest ago is closed where they are too many."""
        self._maps[path] = tensors
        self._maps.move_to_end(path)
        if len(self._maps) > self._limit:
            self._maps.popitem(last=False)

    def close(self, path: Path) -> None:
        """Let a file's map go."""
        self._maps.pop(path, None)


class MappedTensors(Mapping[str, Tensor]):
    """A safetensors file's tensors by name; their bytes come into memory as they are read, and may leave it again."""

    __slots__ = ("_digest", "_maps", "_names", "_path", "_prove", "_verified")

    def __init__(self, path: Path, maps: OpenMaps, *, digest: str, prove: Callable[[], None]) -> None:
        """
        Args:
            digest: of the shard, for errors.
            prove: raises ShardDamaged if the file is not what its digest says; asked now, and again when the file turns
                out to be another one: truncated in place, a map of it would kill the process that reads it (SIGBUS).

        Raises:
            ShardDamaged: the file is missing, or not of a form that this version reads.
        """
        self._path = path
        self._digest = digest
        self._maps = maps
        self._prove = prove
        self._verified: _Fingerprint | None = None
        maps.close(path)
        self._names = tuple(sorted(self._open()))

    def __getitem__(self, name: str) -> Tensor:
        return self._current()[name]

    def require_whole(self) -> None:
        """Make sure that the file is the one that was proven; a glance, unless it was touched.

        Raises:
            ShardDamaged: it is not.
        """
        self._current()

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _current(self) -> dict[str, Tensor]:
        tensors = self._maps.get(self._path)
        if tensors is None or self._fingerprint() != self._verified:
            self._maps.close(self._path)
            tensors = self._open()
        return tensors

    def _open(self) -> dict[str, Tensor]:
        found = self._fingerprint()
        if found != self._verified:
            self._prove()
            self._verified = found
        try:
            with safe_open(self._path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            raise self._damaged(f"cannot be read as safetensors: {error}") from error
        if self._fingerprint() != self._verified:
            raise self._damaged("changes while it is read: nothing but Upkeep may write there")
        self._maps.put(self._path, tensors)
        return tensors

    def _fingerprint(self) -> _Fingerprint:
        try:
            status = self._path.stat()
        except OSError as error:
            raise self._damaged(
                f"is missing ({error.strerror}): restore it from a copy, or `upkeep repair`"
            ) from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _damaged(self, what: str) -> ShardDamaged:
        return ShardDamaged(self._digest, f"{self._path} {what}")
