"""Submit a file of fact events to Kafka: every line is checked before the first one is sent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from daemon.events.fact_event import EventRejected, FactEvent, parse_record
from daemon.events.templates import Templates
from daemon.ingest.kafka_client import (
    DEFAULT_TIMING,
    BrokerUnavailable,
    KafkaTiming,
    ProducerRecord,
    close_producer,
    ensure_topics,
    open_producer,
    send_all,
)
from daemon.ingest.seen_events import Known, SeenEvents
from daemon.settings.settings import Settings
from daemon.settings.tables import KafkaSettings
from edits.errors import PermanentError
from edits.text import counted, printable

CHUNK = 1_000
CHUNK_BYTES = 4 << 20
MAX_REPORTED_FAULTS = 100
SEND_TIMEOUT_SECONDS = 60.0


class SubmitRefused(PermanentError):
    """The file cannot be read or has lines that are no fact events; nothing was sent, `report` says why."""

    def __init__(self, message: str, report: "SubmitReport") -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """One line that is no fact event."""

    line: int
    reason_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class SubmitReport:
    """What became of a file's lines; `faults` holds the first hundred of the `invalid` ones.

    `duplicates` are those of the `events` that stood in the file, or in the ledger, before; they are not sent.
    """

    events: int
    sent: int
    invalid: int
    faults: tuple[InvalidLine, ...] = ()
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class SubmitProgress:
    """How far a file has been read, first to check it, then to send it."""

    stage: str  # "checking" or "sending"
    done_bytes: int
    total_bytes: int
    events: int


def submit_file(
    path: Path,
    settings: Settings,
    *,
    on_progress: Callable[[SubmitProgress], None] = lambda progress: None,
    skip_invalid: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    timing: KafkaTiming = DEFAULT_TIMING,
    known: Known | None = None,
    name: str | None = None,
) -> SubmitReport:
    """Check a JSONL file of fact events line by line, then send it to the topic, key = subject, as it stands.

    Memory does not grow with the file. Sending it a second time is harmless: events are known by their id. One event id with
    two contents is a fault: the consumer would refuse the second one.

    Args:
        known: of event ids, those that the ledger has, with the digests of their contents; None: it is not asked.
        name: what messages call the file; None: its path.

    Raises:
        SubmitRefused: lines are no fact events and `skip_invalid` is not set, or the file cannot be read.
        BrokerUnavailable: the broker is away; the message says how many events had arrived.
        KafkaRefused: the settings, the credentials or the rights do not do.
    """
    templates = Templates.load(settings.consumer.templates)
    reader = _Reader(path, templates, clock, settings.consumer.max_value_bytes)
    with SeenEvents(known) as seen:
        checked = _check(reader, seen, on_progress)
        if checked.invalid and not skip_invalid:
            of = checked.events + checked.invalid
            are = "is no fact event" if checked.invalid == 1 else "are no fact events"
            raise SubmitRefused(f"{name or path}: {checked.invalid} of {counted(of, 'line')} {are}", checked)
        if checked.events == checked.duplicates:
            return checked
        sent = _send(reader, settings.kafka, timing, on_progress, seen)
    return replace(checked, sent=sent)


def _check(
    reader: "_Reader", seen: SeenEvents, on_progress: Callable[[SubmitProgress], None]
) -> SubmitReport:
    """Read every line once; `seen` knows afterwards which of them are not to be sent."""
    faults: list[InvalidLine] = []
    events = invalid = duplicates = 0
    for line in reader.lines("checking", on_progress):
        if line.event is not None:
            seen.add(line.number, line.event)
        elif line.fault is not None:
            invalid += 1
            faults += [line.fault] * (len(faults) < MAX_REPORTED_FAULTS)
        events += line.event is not None
    for number, event_id, where in seen.reused():
        reason = f"the event_id {printable(event_id, 60)!r} stands {where} with other content"
        events, invalid = events - 1, invalid + 1
        faults += [InvalidLine(number, "event_id_reused", reason)] * (len(faults) < MAX_REPORTED_FAULTS)
    duplicates = seen.duplicates()
    faults.sort(key=lambda fault: fault.line)
    return SubmitReport(events, sent=0, invalid=invalid, faults=tuple(faults), duplicates=duplicates)


def _send(
    reader: "_Reader",
    kafka: KafkaSettings,
    timing: KafkaTiming,
    on_progress: Callable[[SubmitProgress], None],
    seen: SeenEvents,
) -> int:
    ensure_topics(kafka, kafka.topics, timing)
    producer = open_producer(kafka, timing)
    sent = 0
    try:
        for chunk in _chunks(reader, kafka.topic, on_progress, seen):
            send_all(producer, chunk, timeout_seconds=SEND_TIMEOUT_SECONDS)
            sent += len(chunk)
    except BrokerUnavailable as error:
        raise BrokerUnavailable(
            f"{error}; {counted(sent, 'event')} had arrived before, and sending the whole file again is harmless"
        ) from error
    finally:
        close_producer(producer)
    return sent


def _chunks(
    reader: "_Reader", topic: str, on_progress: Callable[[SubmitProgress], None], seen: SeenEvents
) -> Iterator[list[ProducerRecord]]:
    chunk: list[ProducerRecord] = []
    size = 0
    for line in reader.lines("sending", on_progress):
        if line.event is not None and not seen.leaves_out(line.number):
            chunk.append(ProducerRecord(topic, line.event.subject.encode("utf-8"), line.raw))
            size += len(line.raw)
        if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    raw: bytes
    event: FactEvent | None = None
    fault: InvalidLine | None = None


class _Reader:
    """Reads the file as often as asked, one bounded line at a time."""

    def __init__(
        self, path: Path, templates: Templates, clock: Callable[[], datetime], max_value_bytes: int
    ) -> None:
        self._path = path
        self._templates = templates
        self._clock = clock
        self._max_value_bytes = max_value_bytes

    def lines(self, stage: str, on_progress: Callable[[SubmitProgress], None]) -> Iterator[_Line]:
        """Every line that is not blank, as an event or as a fault."""
        try:
            total = self._path.stat().st_size
            with self._path.open("rb") as file:
                number = done = events = 0
                # One byte more than allowed: a line that long is a fault, its rest is read past.
                while raw := file.readline(self._max_value_bytes + 2):
                    number += 1
                    done += len(raw)
                    whole = raw.endswith(b"\n") or len(raw) < self._max_value_bytes + 2
                    while not whole and (rest := file.readline(1 << 20)):
                        done += len(rest)
                        whole = rest.endswith(b"\n")
                    if raw.strip():
                        line = self._parsed(number, raw.strip())
                        events += line.event is not None
                        yield line
                    if number % CHUNK == 0:
                        on_progress(SubmitProgress(stage, done, total, events))
                on_progress(SubmitProgress(stage, done, total, events))
        except OSError as error:
            raise SubmitRefused(
                f"{self._path} cannot be read: {error.strerror}", SubmitReport(events=0, sent=0, invalid=0)
            ) from error

    def _parsed(self, number: int, raw: bytes) -> _Line:
        now = self._clock()
        try:
            event = parse_record(
                raw,
                None,
                (),
                timestamp_ms=int(now.timestamp() * 1000),  # what Kafka will stamp it with
                templates=self._templates,
                now=now,
                max_value_bytes=self._max_value_bytes,
            )
        except EventRejected as error:
            return _Line(number, raw, fault=InvalidLine(number, error.reason_code, str(error)))
        return _Line(number, raw, event=event)
