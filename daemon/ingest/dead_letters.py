"""Dead letters: a record that could not be accepted, as it came, with the reason and its origin in headers."""

import re
from collections.abc import Sequence
from dataclasses import replace

from kafka import KafkaProducer
from kafka.consumer.fetcher import ConsumerRecord

from daemon.ingest.kafka_client import MessageTooLarge, ProducerRecord, send_all
from edits.text import printable

# A broker's default limit is 1,000,012 bytes with all headers.
MAX_LETTER_BYTES = 900_000
MAX_ORIGINAL_HEADERS_BYTES = 64_000
MAX_KEY_BYTES = 64_000
REFUSED_LETTER_BYTES = 1_000
SEND_TIMEOUT_SECONDS = 60.0

OWN_HEADERS = frozenset(
    {
        *("reason_code", "reason", "origin_topic", "origin_partition", "origin_offset"),
        *("origin_timestamp_ms", "truncated_from_bytes"),
    }
)
_CODED = re.compile(r"([a-z][a-z0-9_]*): (.*)", re.DOTALL)


def dead_letter(topic: str, record: ConsumerRecord, reason: str) -> ProducerRecord:
    """The message for the dead-letter topic; `reason` is `code: text`, as the ledger keeps it.

    Key, value and headers stay as they were, unless they are too large: then the value's beginning stays, and
    `truncated_from_bytes` says how long it was.
    """
    coded = _CODED.fullmatch(reason)
    code, text = (coded[1], coded[2]) if coded else ("event_id_reused", reason)
    ours = {
        "reason_code": code,
        "reason": printable(text, 1_000),
        "origin_topic": record.topic,
        "origin_partition": str(record.partition),
        "origin_offset": str(record.offset),
        "origin_timestamp_ms": str(record.timestamp),
    }
    key = record.key if record.key is None else record.key[:MAX_KEY_BYTES]
    # kafka-python produces neither a header without value nor a message without both key and value.
    value = b"" if record.value is None and key is None else record.value
    theirs = [(name, content or b"") for name, content in record.headers if name not in OWN_HEADERS]
    if sum(len(name.encode()) + len(content) for name, content in theirs) > MAX_ORIGINAL_HEADERS_BYTES:
        theirs = []
    headers = (*theirs, *((name, content.encode("utf-8", "replace")) for name, content in ours.items()))
    return _truncated(ProducerRecord(topic, key, value, headers), MAX_LETTER_BYTES)


def send_dead_letters(producer: KafkaProducer, letters: Sequence[ProducerRecord]) -> None:
    """Send the letters and wait until they are confirmed; what the broker finds too large goes shortened.

    Raises:
        BrokerUnavailable: not all are confirmed; sending all of them again is harmless.
        KafkaRefused: we have no right to write there.
    """
    try:
        send_all(producer, letters, timeout_seconds=SEND_TIMEOUT_SECONDS)
    except MessageTooLarge:
        short = [_truncated(letter, REFUSED_LETTER_BYTES) for letter in letters]
        send_all(producer, short, timeout_seconds=SEND_TIMEOUT_SECONDS)


def _truncated(letter: ProducerRecord, limit: int) -> ProducerRecord:
    if letter.value is None or len(letter.value) <= limit:
        return letter
    length = str(len(letter.value)).encode()
    headers = (*letter.headers, ("truncated_from_bytes", length))
    if any(
        name == "truncated_from_bytes" for name, _ in letter.headers
    ):  # truncated before: keep the first length
        headers = letter.headers
    return replace(letter, value=letter.value[:limit], headers=headers)
