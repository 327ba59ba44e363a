"""Read the dead-letter topic from its end backwards, without joining a group, and send a mended letter as a new event."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from daemon.events.fact_event import FactEvent, parse_record
from daemon.events.templates import Templates
from daemon.ingest.kafka_client import (
    DEFAULT_TIMING,
    KafkaTiming,
    ProducerRecord,
    ensure_topics,
    open_consumer,
    open_producer,
    send_all,
    translated,
)
from daemon.ledger.errors import NotInLedger
from daemon.process.settings import Settings
from daemon.process.settings_tables import KafkaSettings
from edits.errors import BadRequest, TemporaryError

MAX_PAGE = 200
MAX_SCANNED = 5_000  # letters of one page's search
POLL_MS = 500
MAX_SILENT_POLLS = 10  # after which what is not there is taken for lost to retention
SEND_TIMEOUT_SECONDS = 30.0

Place = tuple[int, int]  # partition and offset in the dead-letter topic


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was no fact event, as it lies in the dead-letter topic.

    Attributes:
        origin: where it came from: topic, partition and offset.
        truncated_from_bytes: how long its value was, if only its beginning was kept.
    """

    partition: int
    offset: int
    at: datetime
    key: str
    value: str
    reason_code: str
    reason: str
    origin: tuple[str, str, str]
    truncated_from_bytes: int | None = None

    @property
    def is_whole(self) -> bool:
        """All of its value was kept."""
        return self.truncated_from_bytes is None

    def says(self, words: str) -> bool:
        """Whether the words stand somewhere in it, in any case."""
        told = (self.key, self.value, self.reason_code, self.reason, *self.origin)
        return any(words.casefold() in one.casefold() for one in told)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """A page of letters, the newest first; `next` goes on behind it (None: that was all)."""

    letters: Sequence[DeadLetter]
    next: str | None
    total: int = field(default=0)


def list_dead_letters(
    kafka: KafkaSettings,
    *,
    cursor: str | None = None,
    words: str = "",
    limit: int = 50,
    timing: KafkaTiming = DEFAULT_TIMING,
) -> DeadLetters:
    """The newest dead letters in front of the cursor, all or those that say some words.

    A page looks at `MAX_SCANNED` letters at most: it may hold fewer than `limit`, even none, and still have a next one.

    Raises:
        BrokerUnavailable: no broker answers.
        KafkaRefused: we have no right to read there.
        BadRequest: the cursor is none of this list's.
    """
    limit = max(1, min(limit, MAX_PAGE))
    with _asking(kafka, timing) as consumer:
        starts, ends = _bounds(consumer, kafka.dead_letters, timing)
        upto = {number: min(end, _cursor(cursor).get(number, end)) for number, end in ends.items()}
        found: list[DeadLetter] = []
        scanned = 0
        while len(found) < limit and scanned < MAX_SCANNED and any(upto[n] > starts[n] for n in upto):
            window = {number: max(starts[number], end - limit) for number, end in upto.items()}
            letters = _read(consumer, kafka.dead_letters, window, upto)
            # Of several partitions the newest come first: what is older than the rest of a window waits.
            letters.sort(key=lambda letter: (letter.at, letter.partition, letter.offset), reverse=True)
            for letter in letters:
                if len(found) == limit:
                    break
                scanned += 1
                upto[letter.partition] = min(upto[letter.partition], letter.offset)
                if not words or letter.says(words):
                    found.append(letter)
            else:
                upto = {number: min(upto[number], window[number]) for number in upto}
    more = any(upto[number] > starts[number] for number in upto)
    total = sum(ends[number] - starts[number] for number in ends)
    return DeadLetters(found, _as_cursor(upto) if more else None, total)


def dead_letter_at(kafka: KafkaSettings, place: Place, *, timing: KafkaTiming = DEFAULT_TIMING) -> DeadLetter:
    """One letter.

    Raises:
        NotInLedger: there is none at this place.
        BrokerUnavailable, KafkaRefused: as `list_dead_letters`.
    """
    partition, offset = place
    with _asking(kafka, timing) as consumer:
        starts, ends = _bounds(consumer, kafka.dead_letters, timing)
        if starts.get(partition, 0) <= offset < ends.get(partition, 0):
            for letter in _read(consumer, kafka.dead_letters, {partition: offset}, {partition: offset + 1}):
                return letter
    raise NotInLedger(f"there is no dead letter {partition}/{offset} in {kafka.dead_letters}")


def read_mended(
    value: str, settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> FactEvent:
    """The event that a mended text is, read as the consumer will read it.

    Raises:
        EventRejected: it is none; the message says why.
    """
    now = clock()
    return parse_record(
        value.encode("utf-8", "replace"),
        None,
        (),
        timestamp_ms=int(now.timestamp() * 1000),
        templates=Templates.load(settings.consumer.templates),
        now=now,
        max_value_bytes=settings.consumer.max_value_bytes,
    )


def send_mended(value: str, settings: Settings, *, timing: KafkaTiming = DEFAULT_TIMING) -> FactEvent:
    """Send a mended text to the topic of fact updates, key = subject, and wait until it is confirmed.

    Raises:
        EventRejected: it is no fact event; nothing was sent.
        BrokerUnavailable, KafkaRefused: it did not arrive, or may have; sending it again is harmless.
    """
    event = read_mended(value, settings)
    kafka = settings.kafka
    ensure_topics(kafka, (kafka.topic,), timing)
    producer = open_producer(kafka, timing)
    try:
        record = ProducerRecord(kafka.topic, event.subject.encode(), value.encode("utf-8", "replace"))
        send_all(producer, [record], timeout_seconds=SEND_TIMEOUT_SECONDS)
    finally:
        producer.close(timeout=1.0)
    return event


@contextlib.contextmanager
def _asking(kafka: KafkaSettings, timing: KafkaTiming) -> Iterator[KafkaConsumer]:
    consumer = open_consumer(kafka, max_poll_records=500, timing=timing)
    try:
        yield consumer
    finally:
        with contextlib.suppress(TemporaryError), translated("closing"):
            consumer.close(autocommit=False)


def _bounds(
    consumer: KafkaConsumer, topic: str, timing: KafkaTiming
) -> tuple[dict[int, int], dict[int, int]]:
    """First offset and end of each partition; empty while there is no such topic."""
    with translated(f"looking into {topic}"):
        places = [
            TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())
        ]
        if not places:
            return {}, {}
        starts = consumer.beginning_offsets(places, timeout_ms=timing.answer_ms)
        ends = consumer.end_offsets(places, timeout_ms=timing.answer_ms)
        ends |= _read_to_the_end(consumer, {p: end - 1 for p, end in ends.items() if end > starts[p]})
    return (
        {place.partition: offset for place, offset in starts.items()},
        {place.partition: offset for place, offset in ends.items()},
    )


def _read_to_the_end(
    consumer: KafkaConsumer, last: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Where each partition really ends: the embedded broker takes the begin of its last batch for its end."""
    consumer.assign([*last])
    for place, offset in last.items():
        consumer.seek(place, offset)
    open_ones = {*last}
    for _ in range(MAX_SILENT_POLLS if last else 0):
        consumer.poll(timeout_ms=POLL_MS)
        open_ones = {p for p in open_ones if (consumer.position(p) or 0) < (consumer.highwater(p) or 1 << 62)}
        if not open_ones:
            break
    return {place: max(consumer.position(place) or 0, offset + 1) for place, offset in last.items()}


def _read(
    consumer: KafkaConsumer, topic: str, first: Mapping[int, int], end: Mapping[int, int]
) -> list[DeadLetter]:
    """The letters of each partition from `first` up to, but without, `end`."""
    open_ones = {number for number in first if first[number] < end[number]}
    found: list[DeadLetter] = []
    silent = 0
    with translated(f"reading {topic}"):
        consumer.assign([TopicPartition(topic, number) for number in sorted(open_ones)])
        for number in open_ones:
            consumer.seek(TopicPartition(topic, number), first[number])
        while open_ones and silent < MAX_SILENT_POLLS:
            polled = consumer.poll(timeout_ms=POLL_MS)
            silent = 0 if polled else silent + 1
            for place, records in polled.items():
                wanted = [record for record in records if record.offset < end[place.partition]]
                found += [_letter(record) for record in wanted]
            open_ones = {
                number
                for number in open_ones
                if (consumer.position(TopicPartition(topic, number)) or 0) < end[number]
            }
    return found


def _letter(record: ConsumerRecord) -> DeadLetter:
    headers = {name: (content or b"").decode("utf-8", "replace") for name, content in record.headers}
    cut = headers.get("truncated_from_bytes", "")
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        at=datetime.fromtimestamp(max(record.timestamp or 0, 0) / 1000, UTC),
        key=(record.key or b"").decode("utf-8", "replace"),
        value=(record.value or b"").decode("utf-8", "replace"),
        reason_code=headers.get("reason_code", ""),
        reason=headers.get("reason", ""),
        origin=(
            headers.get("origin_topic", ""),
            headers.get("origin_partition", ""),
            headers.get("origin_offset", ""),
        ),
        truncated_from_bytes=int(cut) if cut.isdecimal() and len(cut) < 16 else None,
    )


def _cursor(text: str | None) -> dict[int, int]:
    """`0-17_1-4`: in front of offset 17 of partition 0, and of 4 of partition 1."""
    if not text:
        return {}
    places = [part.partition("-") for part in text.split("_")]
    if not all(one.isdecimal() and len(one) < 19 for number, _, offset in places for one in (number, offset)):
        raise BadRequest("the cursor is not one of this list's")
    return {int(number): int(offset) for number, _, offset in places}


def _as_cursor(upto: Mapping[int, int]) -> str:
    return "_".join(f"{number}-{offset}" for number, offset in sorted(upto.items()))
