"""The consumer: takes records from Kafka into the ledger, and commits their offsets only when they are there.

Per poll: parse -> one ledger transaction -> dead letters confirmed -> offsets committed. A crash between any
two of these repeats the records, and the ledger knows them again. When something is away nothing is held in
memory: the records go back to where they came from, by seeking to the first one that was not stored.
"""

import contextlib
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog
from kafka.consumer.fetcher import ConsumerRecord

from daemon.events.fact_event import EventRejected, parse_record
from daemon.events.templates import Templates
from daemon.ingest.consumer_link import ConsumerLink, Polled
from daemon.ingest.dead_letters import dead_letter, send_dead_letters
from daemon.ingest.kafka_client import (
    DEFAULT_TIMING,
    BrokerUnavailable,
    KafkaTiming,
    RebalanceLost,
    TopicIdentity,
    close_consumer,
    close_producer,
    ensure_topics,
    open_consumer,
    open_producer,
    translated,
)
from daemon.ingest.record_batches import MAX_BATCH_BYTES, TOO_LARGE
from daemon.ledger import Ledger
from daemon.ledger.errors import LedgerUnavailable
from daemon.ledger.values import ConsumedRecord, IntakeReport, RecordOutcome
from daemon.process.outage import Outage
from daemon.settings.settings import Settings

BACKLOG_CHECK_SECONDS = 1.0
RESUME_SHARE = 0.8
CLOSE_SECONDS = 3.0
REBALANCE_SESSIONS = 3  # a member that is gone is known after one; then the others only have to answer
LOGGED_PER_BATCH = 10


class ConsumerMetrics(Protocol):
    """What the consumer counts."""

    def event(self, outcome: str, count: int) -> None:
        """`count` more records had this outcome (`RecordOutcome`); a redelivered record counts again."""

    def lag(self, topic: str, partition: int, records: int) -> None:
        """So many records of a partition wait in Kafka."""


class Consumer:
    """One member of the consumer group; `run` returns when `stop` is set.

    No offset is committed whose record is not in the ledger; every record becomes an edit, a known
    duplicate or a dead letter. While the broker or the ledger is away it waits, for as long as it takes.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ledger: Ledger,
        metrics: ConsumerMetrics,
        clock: Callable[[], datetime],
        timing: KafkaTiming = DEFAULT_TIMING,
    ) -> None:
        self._settings = settings
        self._timing = timing
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._identity = TopicIdentity(settings.kafka, settings.kafka.topic, timing)
        self._templates = Templates.load(settings.consumer.templates)
        self._log: Any = structlog.get_logger(__name__)
        self._broker = Outage("the Kafka broker", "records wait there, nothing is lost; trying again")
        self._store = Outage("the ledger", "partitions are paused, no offset is committed; trying again")

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop` is set: then finish the batch at hand, commit, leave the group.

        Raises:
            KafkaRefused: the settings, the credentials or the rights do not do.
        """
        with contextlib.closing(self._identity):
            while not stop.is_set():
                try:
                    with self._connected() as link:
                        while not stop.is_set():
                            self._poll_once(link)
                except RebalanceLost as error:
                    self._log.warning(
                        "joining the group anew", group=self._settings.kafka.group_id, why=str(error)
                    )
                except BrokerUnavailable as error:
                    stop.wait(self._broker.failed(error))
        self._log.info("the consumer has stopped", group=self._settings.kafka.group_id)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[ConsumerLink]:
        kafka = self._settings.kafka
        created = ensure_topics(kafka, kafka.topics, self._timing)
        if created:
            self._log.info("created topics", topics=created)
        with contextlib.ExitStack() as stack:
            producer = open_producer(kafka, self._timing)
            stack.callback(close_producer, producer, seconds=CLOSE_SECONDS)
            consumer = open_consumer(
                kafka,
                max_poll_records=self._settings.consumer.max_poll_records,
                max_batch_bytes=max(MAX_BATCH_BYTES, 2 * self._settings.consumer.max_value_bytes),
                timing=self._timing,
            )
            stack.callback(close_consumer, consumer, seconds=CLOSE_SECONDS)
            link = ConsumerLink(
                consumer,
                producer,
                timing=self._timing,
                rebalance_seconds=REBALANCE_SESSIONS * kafka.session_timeout_ms / 1_000,
                log=self._log,
            )
            self._restart_if_another_topic(link)
            with translated(f"subscribing to {kafka.topic}"):
                consumer.subscribe([kafka.topic], listener=link)
            self._log.info("consuming", topic=kafka.topic, group=kafka.group_id, at=kafka.bootstrap_servers)
            try:
                yield link
            except BrokerUnavailable:
                link.forget_uncommitted()  # nobody would answer: leave at once
                raise

    def _poll_once(self, link: ConsumerLink) -> None:
        """One poll and what follows from it."""
        polled = link.poll()
        if polled:
            self._broker.ended()
            self._process(link, polled)
        self._throttle(link, polled=bool(polled))
        if link.watch_is_due():
            self._watch(link)

    def _process(self, link: ConsumerLink, polled: Polled) -> None:
        raw = [record for records in polled.values() for record in records]
        read = [self._read(record) for record in raw]
        try:
            report = self._ledger.intake.record(read)
        except LedgerUnavailable as error:
            link.release(polled)
            link.pause(until=time.monotonic() + self._store.failed(error))
            return
        self._store.ended()
        self._account(read, report)
        self._send_dead_letters(link, raw, read, report)
        link.commit()
        for place, ahead in link.lag(polled).items():
            self._metrics.lag(place.topic, place.partition, ahead)

    def _read(self, record: ConsumerRecord) -> ConsumedRecord:
        try:
            _require_whole(record)
            event = parse_record(
                record.value,
                record.key,
                record.headers,
                timestamp_ms=record.timestamp,
                templates=self._templates,
                now=self._clock(),
                max_value_bytes=self._settings.consumer.max_value_bytes,
            )
            rejection = None
        except EventRejected as error:
            event, rejection = None, f"{error.reason_code}: {error}"
        return ConsumedRecord(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            digest=_digest(record),
            event=event,
            rejection=rejection,
        )

    def _send_dead_letters(
        self,
        link: ConsumerLink,
        raw: Sequence[ConsumerRecord],
        read: Sequence[ConsumedRecord],
        report: IntakeReport,
    ) -> None:
        """After the ledger's transaction and before the commit: a crash here sends them a second time."""
        topic = self._settings.kafka.dead_letters
        dead = [n for n, outcome in enumerate(report.outcomes) if outcome is RecordOutcome.DEAD_LETTERED]
        letters = [dead_letter(topic, raw[n], report.reasons[n] or "no reason is known") for n in dead]
        send_dead_letters(link.producer, letters)
        for n, letter in list(zip(dead, letters, strict=True))[:LOGGED_PER_BATCH]:
            event = read[n].event
            headers = {name: value.decode("utf-8", "replace") for name, value in letter.headers}
            self._log.warning(
                "dead letter",
                event_id=event.event_id if event is not None else None,  # None: it could not be read
                reason_code=headers["reason_code"],
                reason=headers["reason"],
                partition=headers["origin_partition"],
                offset=headers["origin_offset"],
            )
        if len(letters) > LOGGED_PER_BATCH:
            self._log.warning("more dead letters", count=len(letters) - LOGGED_PER_BATCH, topic=topic)

    def _account(self, read: Sequence[ConsumedRecord], report: IntakeReport) -> None:
        """Count and log; one line for a whole batch, each of its events has a line at level debug."""
        counts = Counter(outcome.value for outcome in report.outcomes)
        for outcome, count in counts.items():
            self._metrics.event(outcome, count)
        ids = [record.event.event_id for record in read if record.event is not None]
        self._log.info(
            "took records",
            records=len(read),
            redelivered=report.redelivered,
            **counts,
            first_partition=read[0].partition,
            first_offset=read[0].offset,
            event_ids=ids[:LOGGED_PER_BATCH],
        )
        for record, outcome in zip(read, report.outcomes, strict=True):
            self._log.debug(
                "took record",
                event_id=record.event.event_id if record.event is not None else None,
                partition=record.partition,
                offset=record.offset,
                outcome=outcome.value,
            )

    def _throttle(self, link: ConsumerLink, *, polled: bool) -> None:
        """Pause where too many edits wait or the ledger is away; go on when that has passed."""
        if not (link.may_resume() if link.paused else polled):
            return
        most = self._settings.consumer.max_backlog
        try:
            backlog = self._ledger.intake.backlog()
        except LedgerUnavailable as error:
            link.pause(until=time.monotonic() + self._store.failed(error))
            return
        if backlog >= most or (link.paused_for_backlog and backlog >= RESUME_SHARE * most):
            if not link.paused_for_backlog:
                self._log.warning(
                    "paused: too many edits wait to be applied", backlog=backlog, max_backlog=most
                )
            link.pause(until=time.monotonic() + BACKLOG_CHECK_SECONDS, for_backlog=True)
        elif link.paused:
            if link.paused_for_backlog:
                self._log.info("resumed: the backlog has gone down", backlog=backlog)
            link.resume()

    def _watch(self, link: ConsumerLink) -> None:
        """Now and then: does the broker answer, are the topics there, and still the same, how far behind are we?"""
        kafka = self._settings.kafka
        self._restart_if_another_topic(link)
        lags = link.measured_lag()
        self._broker.ended()
        for place, ahead in lags.items():
            self._metrics.lag(place.topic, place.partition, ahead)
        # A member without partitions may be one too many, or the broker may have lost the topic.
        if not lags and (created := ensure_topics(kafka, (kafka.topic, kafka.dead_letters), self._timing)):
            raise BrokerUnavailable(f"the broker had lost the topics {', '.join(created)}; created again")

    def _restart_if_another_topic(self, link: ConsumerLink) -> None:
        """Positions, and offsets that we committed before we saw it, mean nothing in a topic that was made anew."""
        if self._identity.has_changed():
            self._log.warning(
                "the topic was made anew, or its broker has lost it: reading it from its beginning",
                topic=self._settings.kafka.topic,
            )
            link.restart()


def _require_whole(record: ConsumerRecord) -> None:
    if any(name == TOO_LARGE for name, _ in record.headers):
        raise EventRejected(
            "too_large", "the record is too large, or came in a batch that is once decompressed"
        )


def _digest(record: ConsumerRecord) -> str:
    """What tells a redelivery from another record at the same offset: key, value and headers."""
    digest = hashlib.sha256()
    parts = [record.key, record.value]
    for name, content in record.headers:
        parts += [name.encode("utf-8", "replace"), content]
    for part in parts:
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    return digest.hexdigest()
