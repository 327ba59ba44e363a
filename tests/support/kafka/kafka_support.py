"""What the tests around Kafka share: events, running consumers, and reading a topic back."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord

from daemon.ingest.consumer import Consumer
from daemon.ingest.kafka_client import (
    DEFAULT_TIMING,
    KafkaTiming,
    ProducerRecord,
    ensure_topics,
    open_producer,
    send_all,
)
from daemon.ledger import Ledger
from daemon.ledger.values import RecordOutcome
from daemon.settings.settings import Settings
from daemon.settings.tables import ConsumerSettings, KafkaSettings

MOMENT = datetime(2026, 5, 1, 12, tzinfo=UTC)
PROCESS = Path(__file__).with_name("consumer_process.py")


class CountingMetrics:
    """Keeps what the consumer counted."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.lags: dict[tuple[str, int], int] = {}

    def event(self, outcome: str, count: int) -> None:
        self.events[outcome] += count

    def lag(self, topic: str, partition: int, records: int) -> None:
        self.lags[topic, partition] = records


def fresh_kafka_settings(bootstrap_servers: str, **changes: object) -> KafkaSettings:
    """Settings for a topic, a group and a name of their own; rebalances are quick."""
    name = uuid.uuid4().hex[:12]
    values: dict[str, object] = {
        "bootstrap_servers": bootstrap_servers,
        "topic": f"facts-{name}",
        "outcomes_topic": f"outcomes-{name}",
        "group_id": f"group-{name}",
        # The embedded broker makes joiners wait half of it; a Kafka of unknown settings takes no less than 6 s.
        "session_timeout_ms": 6_000 if "KAFKA_BOOTSTRAP_SERVERS" in os.environ else 2_500,
        "request_timeout_ms": 10_000,
    }
    return KafkaSettings.model_validate(values | changes)


def event(number: int, **changes: Any) -> dict[str, Any]:
    """A valid event about a subject of its own."""
    return {
        "event_id": f"event-{number}",
        "subject": f"Subject {number}",
        "relation": "capital",
        "prompt": f"The capital of Subject {number} is",
        "target_new": f"Town {number}",
        "occurred_at": "2026-05-01T12:00:00Z",
    } | changes


def publish(kafka: KafkaSettings, events: Sequence[dict[str, Any] | ProducerRecord]) -> None:
    """Events, or messages as they are, to the topic; confirmed."""
    ensure_topics(kafka, (kafka.topic, kafka.dead_letters))
    producer = open_producer(kafka)
    try:
        for start in range(0, len(events), 2_000):
            send_all(
                producer,
                [
                    item
                    if isinstance(item, ProducerRecord)
                    else ProducerRecord(kafka.topic, item["subject"].encode(), json.dumps(item).encode())
                    for item in events[start : start + 2_000]
                ],
                timeout_seconds=30,
            )
    finally:
        producer.close(timeout=2)


def read_topic(kafka: KafkaSettings, topic: str, count: int, *, seconds: float = 10) -> list[ConsumerRecord]:
    """The first `count` records of a topic, from the beginning, outside of any group."""
    found: list[ConsumerRecord] = []
    with contextlib.closing(
        KafkaConsumer(
            topic,
            bootstrap_servers=kafka.bootstrap_servers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
    ) as consumer:
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=200).values():
                found += records
    return found


def settings_for(kafka: KafkaSettings, **consumer: Any) -> Settings:
    return Settings(kafka=kafka, consumer=ConsumerSettings(**consumer))


@contextlib.contextmanager
def consuming(
    settings: Settings, ledger: Ledger, timing: KafkaTiming = DEFAULT_TIMING
) -> Iterator[CountingMetrics]:
    """A consumer in a thread, stopped gracefully at the end; what it raises, this raises."""
    metrics = CountingMetrics()
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            Consumer(settings, ledger=ledger, metrics=metrics, clock=lambda: MOMENT, timing=timing).run(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield metrics
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive(), "the consumer did not stop"
    if failures:
        raise failures[0]


@contextlib.contextmanager
def consumer_process(kafka: KafkaSettings, ledger_url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A consumer in a process of its own, to be killed."""
    process = subprocess.Popen([sys.executable, str(PROCESS), kafka.model_dump_json(), ledger_url])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def eventually(happened: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not in {seconds} seconds: {what}"
        time.sleep(0.1)


def accepted(ledger: Ledger) -> int:
    return ledger.intake.outcomes().get(RecordOutcome.ACCEPTED, 0)
