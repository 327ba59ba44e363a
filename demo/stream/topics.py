"""The demo's own side of Kafka: publish the stream's records, read topics back from their beginning."""

import contextlib
from collections.abc import Iterator, Sequence

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from daemon.ingest.kafka_client import (
    ProducerRecord,
    close_producer,
    ensure_topics,
    open_consumer,
    open_producer,
    send_all,
    translated,
)
from daemon.settings.tables import KafkaSettings
from demo.stream.records import StreamRecord

SEND_TIMEOUT_SECONDS = 30.0
POLL_MS = 200


class Publisher:
    """A real producer for fact updates; every record that `publish` returns from is confirmed."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._topic = kafka.topic
        ensure_topics(kafka, kafka.topics)
        self._producer = open_producer(kafka)

    def publish(self, records: Sequence[StreamRecord]) -> None:
        """Send the records in their order."""
        messages = [
            ProducerRecord(self._topic, record.key, record.value, record.headers) for record in records
        ]
        send_all(self._producer, messages, timeout_seconds=SEND_TIMEOUT_SECONDS)

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *_: object) -> None:
        close_producer(self._producer)


def read_topic(kafka: KafkaSettings, topic: str) -> Iterator[ConsumerRecord]:
    """Every record that the topic holds now, outside of any consumer group's progress."""
    reader = kafka.model_copy(update={"group_id": f"{kafka.group_id}-demo-reader"})
    with contextlib.closing(open_consumer(reader, max_poll_records=500)) as consumer, translated("reading"):
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                yield from records
