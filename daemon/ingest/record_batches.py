"""How kafka-python reads batches of records that somebody made to stop it: endless ones, and names that are no text.

Records that are too large once decompressed come without their value and with the header `TOO_LARGE`: the consumer makes
dead letters of them and goes on. A batch of 1 MiB may hold 300 MiB, and a client that gives up on it never comes past it.
"""

import gzip
import io
from collections.abc import Callable
from typing import IO, Any

from kafka import codec
from kafka.record.default_records import DefaultRecordBatch

MAX_BATCH_BYTES = 32 << 20
TOO_LARGE = "upkeep-too-large"
MAX_KEY_BYTES = 4096  # that are kept of a record without its value
_PIECE_BYTES = 1 << 20

_original_uncompress: Callable[[Any], None] = DefaultRecordBatch._maybe_uncompress
_original_read: Callable[..., Any] = DefaultRecordBatch._read_msg


def read_hostile_batches(max_batch_bytes: int = MAX_BATCH_BYTES) -> None:
    """Let kafka-python read what follows here so; asked again, with another bound."""
    DefaultRecordBatch._maybe_uncompress = lambda batch: _uncompress(batch, max_batch_bytes)
    DefaultRecordBatch._read_msg = _read_leniently


def _uncompress(batch: Any, limit: int) -> None:
    """In place of `DefaultRecordBatch._maybe_uncompress`: never more than about `limit` bytes."""
    if batch._decompressed or batch.compression_type not in _STREAMS:
        _original_uncompress(batch)
        return
    batch._assert_has_codec(batch.compression_type)
    compressed = bytes(memoryview(batch._buffer)[batch._pos :])
    opened = _STREAMS[batch.compression_type]
    with opened(compressed) as stream:
        data = bytearray(stream.read(limit + 1))
    if len(data) > limit:
        del data
        with opened(compressed) as stream:
            data = _trimmed(stream, batch._num_records, limit)
    batch._buffer, batch._pos, batch._decompressed = data, 0, True


def _zstd(data: bytes) -> Any:
    return codec.zstd.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)


# Snappy is left out: it holds at most some twenty times its own size.
_STREAMS: dict[int, Callable[[bytes], Any]] = {
    DefaultRecordBatch.CODEC_GZIP: lambda data: gzip.GzipFile(fileobj=io.BytesIO(data), mode="r"),
    DefaultRecordBatch.CODEC_LZ4: lambda data: codec.lz4.open(io.BytesIO(data), "rb"),
    DefaultRecordBatch.CODEC_ZSTD: _zstd,
}


def _trimmed(stream: IO[bytes], records: int, limit: int) -> bytearray:
    """So many records of a batch, as many as fit into half of `limit` as they are, the others without their values."""
    out = bytearray()
    for _ in range(records):
        length = _read_varint(stream)
        if 0 <= length <= limit // 2 - len(out):
            out += _varint(length) + _read(stream, length)
        else:
            record = _without_value(stream, length)
            out += _varint(len(record)) + record
    return out


def _without_value(stream: IO[bytes], length: int) -> bytes:
    """A record of `length` bytes, read past: its times, its place, a key that is no novel, and our header."""
    body = _Counted(stream)
    attributes = _read(body, 1)
    timestamp, offset, key_length = (_read_varint(body) for _ in range(3))
    key = _read(body, key_length) if 0 <= key_length <= MAX_KEY_BYTES else None
    _skip(stream, length - body.count)
    name = TOO_LARGE.encode()
    return b"".join(
        (
            attributes,
            _varint(timestamp),
            _varint(offset),
            _varint(-1) if key is None else _varint(len(key)) + key,
            _varint(-1),  # no value
            _varint(1) + _varint(len(name)) + name + _varint(0),
        )
    )


class _Counted:
    """A stream that counts what is read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data


def _read(stream: Any, size: int) -> bytes:
    pieces = []
    while size > 0:
        piece = stream.read(min(size, _PIECE_BYTES))
        if not piece:
            raise ValueError("the batch of records ends too early")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _skip(stream: Any, size: int) -> None:
    while size > 0:
        size -= len(_read(stream, min(size, _PIECE_BYTES)))


def _read_varint(stream: Any) -> int:
    """A zigzag varint, as in https://protobuf.dev/programming-guides/encoding/."""
    value = 0
    for shift in range(0, 70, 7):
        byte = _read(stream, 1)[0]
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1)
    raise ValueError("a number of the batch of records has no end")


def _varint(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


class _LenientBytes(bytes):
    """Bytes whose slices decode with replacement characters instead of failing."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _LenientBytes(part) if isinstance(part, bytes) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, "replace")


def _read_leniently(batch: Any, *args: Any, **options: Any) -> Any:
    """Read a record whose header name is no UTF-8 with replacement characters: kafka-python gives it up as corrupt."""
    try:
        return _original_read(batch, *args, **options)
    except UnicodeDecodeError:
        batch._buffer = _LenientBytes(batch._buffer)  # the position moves on success only: read again
        return _original_read(batch, *args, **options)
