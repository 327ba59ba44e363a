"""What could not be accepted: the dead-letter topic, read from its end, and a letter sent again after it was mended.

A page reads at most `MAX_READ` letters and `MAX_SECONDS`, however long the topic is; nothing is committed.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from daemon.events.fact_event import EventRejected, FactEvent, parse_record
from daemon.events.templates import Templates
from daemon.ingest.dead_letters import OWN_HEADERS
from daemon.ingest.kafka_client import (
    DEFAULT_TIMING,
    KafkaTiming,
    ProducerRecord,
    close_consumer,
    close_producer,
    ensure_topics,
    offsets_of,
    open_consumer,
    open_producer,
    send_all,
    translated,
)
from daemon.ingest.watermarks import watermarks
from daemon.ledger import Ledger, utc_now
from daemon.ledger.errors import NotInLedger
from daemon.ledger.page_values import FactQuery
from daemon.ledger.values import Act
from daemon.operations.actions import with_reason
from daemon.settings.settings import Settings
from edits.errors import BadRequest, TemporaryError

PAGE = 50
MAX_PAGE = 500
MAX_READ = 1_000
MAX_SECONDS = 20.0
MAX_SHOWN_BYTES = 64_000  # of one letter's value
SEND_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that could not be accepted.

    Attributes:
        partition, offset: its place in the dead-letter topic, by which it is named.
        origin_topic, origin_partition, origin_offset: the place where it came from.
        value: as text, at most `MAX_SHOWN_BYTES` of it; `size_bytes` of the letter, `truncated_from_bytes` of the record
            where the consumer had to shorten it.
    """

    partition: int
    offset: int
    at: datetime
    reason_code: str
    reason: str
    origin_topic: str
    origin_partition: int | None
    origin_offset: int | None
    key: str | None
    value: str
    size_bytes: int
    truncated_from_bytes: int | None

    @property
    def name(self) -> str:
        """What `dead_letter` and `resubmit` know it by."""
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """Letters, the newest first; `next`, as `cursor`, goes on behind them (None: that was all)."""

    letters: tuple[DeadLetter, ...]
    next: str | None


def dead_letters(
    settings: Settings,
    *,
    cursor: str | None = None,
    limit: int = PAGE,
    code: str | None = None,
    text: str | None = None,
    timing: KafkaTiming = DEFAULT_TIMING,
) -> DeadLetterPage:
    """The newest letters; those with a reason code, or with a text in reason, key or value, in any case.

    Raises:
        BadRequest: the cursor is none of this list's.
        BrokerUnavailable: no broker answers.
        KafkaRefused: we have no right to read there.
    """
    upto = _upto(cursor)
    limit = max(1, min(limit, MAX_PAGE))
    with _reading(settings, timing) as (consumer, places):
        ends = _ends(consumer, places, upto)
        narrow = code is not None or text is not None
        window = max(1, (MAX_READ if narrow else limit) // max(1, len(ends)))
        windows = {place: (max(first, last - window), last) for place, (first, last) in ends.items()}
        records = _read(consumer, windows)
    return _page(records, windows, {place: first for place, (first, _) in ends.items()}, limit, code, text)


def dead_letter(settings: Settings, name: str, *, timing: KafkaTiming = DEFAULT_TIMING) -> DeadLetter:
    """One letter, by its `name`.

    Raises:
        NotInLedger: there is none at this place (any more).
    """
    return _to_letter(_record(settings, name, timing))


def resubmit(
    settings: Settings,
    ledger: Ledger,
    name: str,
    act: Act,
    *,
    value: bytes | None = None,
    timing: KafkaTiming = DEFAULT_TIMING,
) -> FactEvent:
    """Send a letter to the facts' topic again, mended (`value`) or as it is; it is checked as the consumer checks it.

    Raises:
        BadRequest: it would be refused again, with the reason; or no reason was given for the act.
        NotInLedger: there is no such letter (any more).
        BrokerUnavailable, KafkaRefused: as `dead_letters`.
    """
    act = with_reason(act)
    record = _record(settings, name, timing)
    letter = _to_letter(record)
    if value is None and letter.truncated_from_bytes is not None:
        raise BadRequest(f"dead letter {name} was shortened: give its whole value")
    sent = record.value if value is None else value
    # A mended event is a plain one; an envelope goes with what it came with.
    headers = () if value is not None else record.headers
    theirs = tuple((key, bytes(content or b"")) for key, content in headers if key not in OWN_HEADERS)
    event = checked_event(settings, ledger, sent, theirs)
    ensure_topics(settings.kafka, (settings.kafka.topic,), timing)
    producer = open_producer(settings.kafka, timing)
    try:
        message = ProducerRecord(settings.kafka.topic, event.subject.encode(), sent, theirs)
        send_all(producer, [message], timeout_seconds=SEND_TIMEOUT_SECONDS)
    finally:
        close_producer(producer)
    ledger.audit_log.write(
        act,
        "resubmit",
        {"dead_letter": name, "origin_offset": letter.origin_offset},
        {"event_id": event.event_id, "mended": value is not None},
    )
    return event


def checked_event(
    settings: Settings, ledger: Ledger, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()
) -> FactEvent:
    """The event that the consumer would read, if it would accept it.

    Raises:
        BadRequest: it would refuse it; or an event of this id is known already.
    """
    now = utc_now()
    try:
        event = parse_record(
            value,
            None,
            headers,
            timestamp_ms=int(now.timestamp() * 1000),
            templates=Templates.load(settings.consumer.templates),
            now=now,
            max_value_bytes=settings.consumer.max_value_bytes,
        )
    except EventRejected as error:
        raise BadRequest(f"it would be refused again: {error.reason_code}: {error}") from error
    if ledger.search.find(FactQuery(event_id=event.event_id), limit=1).facts:
        raise BadRequest(f"the event id {event.event_id!r} is used already: give the mended event a new one")
    return event


@contextlib.contextmanager
def _reading(settings: Settings, timing: KafkaTiming) -> Iterator[tuple[KafkaConsumer, list[TopicPartition]]]:
    """A consumer of no group's partitions, and those of the dead-letter topic; none where there is no such topic."""
    topic = settings.kafka.dead_letters
    consumer = open_consumer(settings.kafka, max_poll_records=MAX_READ, timing=timing)
    try:
        with translated(f"reading {topic}"):
            found = consumer.partitions_for_topic(topic) or ()
            yield consumer, [TopicPartition(topic, number) for number in sorted(found)]
    finally:
        close_consumer(consumer)


def _ends(
    consumer: KafkaConsumer, places: list[TopicPartition], upto: Mapping[int, int]
) -> dict[TopicPartition, tuple[int, int]]:
    """The first offset of each partition and the one behind the last that this page may show."""
    if not places:
        return {}
    firsts, lasts = offsets_of(consumer.beginning_offsets, places), offsets_of(consumer.end_offsets, places)
    lasts |= watermarks(
        consumer, {place: lasts[place] - 1 for place in places if firsts[place] < lasts[place]}
    )
    return {
        place: (firsts[place], min(lasts[place], upto.get(place.partition, lasts[place]))) for place in places
    }


def _read(consumer: KafkaConsumer, windows: Mapping[TopicPartition, tuple[int, int]]) -> list[ConsumerRecord]:
    """The records of each partition's window, in no order."""
    wanted = {place: last for place, (first, last) in windows.items() if first < last}
    if not wanted:
        return []
    consumer.assign(list(wanted))
    for place in wanted:
        consumer.seek(place, windows[place][0])
    found: list[ConsumerRecord] = []
    deadline = time.monotonic() + MAX_SECONDS
    while wanted and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=200).values():
            found += [
                one for one in records if one.offset < windows[TopicPartition(one.topic, one.partition)][1]
            ]
        # A position, not a record: the last offsets of a window may have been compacted away.
        wanted = {place: last for place, last in wanted.items() if consumer.position(place) < last}
    if wanted:
        raise TemporaryError(f"reading the dead letters took longer than {MAX_SECONDS:.0f} s")
    return found


def _page(
    records: list[ConsumerRecord],
    windows: Mapping[TopicPartition, tuple[int, int]],
    firsts: Mapping[TopicPartition, int],
    limit: int,
    code: str | None,
    text: str | None,
) -> DeadLetterPage:
    upto = {place.partition: last for place, (_, last) in windows.items()}
    bounds = {place.partition: first for place, (first, _) in windows.items()}
    lowest = {place.partition: first for place, first in firsts.items()}
    found: list[DeadLetter] = []
    for record in sorted(records, key=lambda one: (one.timestamp, one.offset), reverse=True):
        letter = _to_letter(record)
        upto[record.partition] = min(upto[record.partition], record.offset)
        if _is_wanted(letter, code, text):
            found.append(letter)
        # Behind a window's first letter there may be one that is newer than what other partitions have left.
        if len(found) == limit or bounds[record.partition] == record.offset > lowest[record.partition]:
            break
    else:
        upto = bounds
    more = any(upto[number] > first for number, first in lowest.items())
    cursor = ",".join(f"{number}:{offset}" for number, offset in sorted(upto.items()))
    return DeadLetterPage(tuple(found), cursor if more else None)


def _is_wanted(letter: DeadLetter, code: str | None, text: str | None) -> bool:
    if code is not None and letter.reason_code != code:
        return False
    if text is None:
        return True
    listed = (letter.reason, letter.key or "", letter.value, _without_escapes(letter.value))
    return any(text.casefold() in part.casefold() for part in listed)


def _without_escapes(value: str) -> str:
    """A JSON text with its letters as people write them."""
    if "\\u" not in value:
        return ""
    try:
        return json.dumps(json.loads(value), ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def _record(settings: Settings, name: str, timing: KafkaTiming) -> ConsumerRecord:
    partition, _, offset = name.partition(":")
    if not (partition.isdecimal() and offset.isdecimal() and len(name) < 40):
        raise BadRequest(f"{name[:40]!r} names no dead letter: use PARTITION:OFFSET, as they are listed")
    place, at = TopicPartition(settings.kafka.dead_letters, int(partition)), int(offset)
    with _reading(settings, timing) as (consumer, places):
        ends = _ends(consumer, places, {})
        first, last = ends.get(place, (0, 0))
        found = _read(consumer, {place: (at, at + 1)}) if first <= at < last else []
    if not found:
        raise NotInLedger(f"there is no dead letter {name}")
    return found[0]


def _to_letter(record: ConsumerRecord) -> DeadLetter:
    headers: dict[str, Any] = {
        name: bytes(content or b"").decode("utf-8", "replace") for name, content in record.headers
    }
    value = record.value or b""
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        at=datetime.fromtimestamp(max(record.timestamp, 0) / 1000, UTC),
        reason_code=headers.get("reason_code", "unknown"),
        reason=headers.get("reason", ""),
        origin_topic=headers.get("origin_topic", ""),
        origin_partition=_number(headers.get("origin_partition")),
        origin_offset=_number(headers.get("origin_offset")),
        key=record.key.decode("utf-8", "replace") if record.key is not None else None,
        value=value[:MAX_SHOWN_BYTES].decode("utf-8", "replace"),
        size_bytes=len(value),
        truncated_from_bytes=_number(headers.get("truncated_from_bytes")),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 20 else None


def _upto(cursor: str | None) -> dict[int, int]:
    if cursor is None:
        return {}
    found: dict[int, int] = {}
    for part in cursor.split(",") if len(cursor) < 10_000 else ():
        number, _, offset = part.partition(":")
        if not (number.isdecimal() and offset.isdecimal() and len(part) < 40):
            break
        found[int(number)] = int(offset)
    else:
        if found:
            return found
    raise BadRequest("the cursor is not one of this list's")
