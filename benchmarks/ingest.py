"""How fast does the consumer bring events from Kafka into the ledger, against a bare consumer on the same topic?

    python benchmarks/ingest.py --events 20000

Prints one JSON object. Starts the embedded broker unless --bootstrap-servers names another; the load is the demo's
endless stream.
"""

import argparse
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from daemon.ingest.consumer import Consumer
from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.ingest.kafka_client import ProducerRecord, ensure_topics, open_consumer, open_producer, send_all
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.process.log import configure_logging
from daemon.settings.settings import Settings
from daemon.settings.tables import ConsumerSettings, KafkaSettings, LogSettings
from demo.stream.endless import endless_stream
from demo.world.world import World

SEND_AT_ONCE = 2_000
LONGEST_SECONDS = 600.0


class NoMetrics:
    """The benchmark reads the ledger, not Prometheus."""

    def event(self, outcome: str, count: int) -> None: ...

    def lag(self, topic: str, partition: int, records: int) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap-servers")
    options = parser.parse_args()
    configure_logging(LogSettings(level="error"), "benchmark")
    if options.bootstrap_servers:
        figures = measure(options.bootstrap_servers, options.events, options.seed)
    else:
        with EmbeddedBroker() as broker:
            figures = measure(broker.bootstrap_servers, options.events, options.seed)
    print(json.dumps(figures))


def measure(bootstrap_servers: str, events: int, seed: int) -> dict[str, float]:
    """Publish, read bare, then consume into a fresh ledger."""
    topic = f"ingest-{time.time_ns()}"
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, topic=topic, group_id=topic)
    publish(kafka, events, seed)
    bare = bare_seconds(kafka, events)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_ledger(f"sqlite:///{Path(folder) / 'ledger.db'}") as ledger,
    ):
        ledger.migrate()
        settings = Settings(kafka=kafka, consumer=ConsumerSettings(max_backlog=10_000_000))
        took = ingest_seconds(settings, ledger, events)
        outcomes = {str(outcome): count for outcome, count in ledger.intake.outcomes().items()}
    return {
        "events": events,
        "records_per_second": round(events / took, 1),
        "bare_records_per_second": round(events / bare, 1),
        "ratio_to_bare_consumer": round(bare / took, 4),
        **outcomes,
    }


def publish(kafka: KafkaSettings, events: int, seed: int) -> None:
    ensure_topics(kafka, (kafka.topic, kafka.dead_letters))
    producer = open_producer(kafka)
    stream = itertools.islice(endless_stream(World.generate(seed), seed), events)
    while chunk := list(itertools.islice(stream, SEND_AT_ONCE)):
        messages: Sequence[ProducerRecord] = [
            ProducerRecord(kafka.topic, record.key, record.value) for record in chunk
        ]
        send_all(producer, messages, timeout_seconds=60)
    producer.close(timeout=5)


def bare_seconds(kafka: KafkaSettings, events: int) -> float:
    """From the first record to the last, without looking at any."""
    consumer = open_consumer(
        kafka.model_copy(update={"group_id": f"{kafka.group_id}-bare"}), max_poll_records=500
    )
    consumer.subscribe([kafka.topic])
    seen, begun = 0, None
    while seen < events:
        polled = consumer.poll(timeout_ms=500)
        if polled and begun is None:
            begun = time.perf_counter()
        seen += sum(len(records) for records in polled.values())
    consumer.close()
    return time.perf_counter() - (begun or 0.0)


def ingest_seconds(settings: Settings, ledger: Ledger, events: int) -> float:
    """From the first record in the ledger to the last."""
    stop = threading.Event()
    consumer = Consumer(settings, ledger=ledger, metrics=NoMetrics(), clock=utc_now)
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    first: tuple[float, int] | None = None
    deadline = time.perf_counter() + LONGEST_SECONDS
    try:
        while (taken := sum(ledger.intake.outcomes().values())) < events:
            if taken and first is None:
                first = (time.perf_counter(), taken)
            if time.perf_counter() > deadline:
                raise SystemExit(f"only {taken} of {events} records were taken in {LONGEST_SECONDS} s")
            time.sleep(0.02)
        ended = time.perf_counter()
    finally:
        stop.set()
        thread.join()
    begun, taken_first = first if first is not None else (ended, 0)
    return (ended - begun) * events / max(1, events - taken_first)


if __name__ == "__main__":
    main()
