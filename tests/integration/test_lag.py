"""The lag of the consumer group, measured from outside at a real broker."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from kafka import OffsetAndMetadata, TopicPartition
from support.console_support import running_console
from support.kafka.kafka_support import event, fresh_kafka_settings, publish

from daemon.ingest.consumer_lag import group_lag, watch_lag
from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.ingest.kafka_client import ProducerRecord, ensure_topics, open_consumer, open_producer, send_all
from daemon.operations.status import lag
from daemon.settings.tables import KafkaSettings


def _produce(settings: KafkaSettings, count: int) -> None:
    """One record after the other: of a batch, the embedded broker calls the first record the end."""
    producer = open_producer(settings)
    try:
        for _ in range(count):
            send_all(producer, [ProducerRecord(settings.topic, b"k", b"v")], timeout_seconds=30)
    finally:
        producer.close(timeout=2)


def test_what_the_group_has_not_committed_is_its_lag_whether_or_not_anybody_consumes(
    kafka_settings: KafkaSettings,
) -> None:
    asking = open_consumer(kafka_settings, max_poll_records=1)
    place = TopicPartition(kafka_settings.topic, 0)
    try:
        assert group_lag(asking, kafka_settings.topic) == {}  # there is no such topic yet
        ensure_topics(kafka_settings, (kafka_settings.topic,))
        _produce(kafka_settings, 7)
        assert group_lag(asking, kafka_settings.topic) == {place: 7}

        consumer = open_consumer(kafka_settings, max_poll_records=1)
        consumer.assign([place])
        consumer.commit({place: OffsetAndMetadata(5, "", -1)})
        consumer.close(autocommit=False)
        assert group_lag(asking, kafka_settings.topic) == {place: 2}
    finally:
        asking.close(autocommit=False)


def test_records_that_came_in_one_batch_are_all_counted(own_broker: EmbeddedBroker) -> None:
    settings = fresh_kafka_settings(own_broker.bootstrap_servers)
    publish(settings, [event(number) for number in range(12)])
    asking = open_consumer(settings, max_poll_records=1)
    place = TopicPartition(settings.topic, 0)
    try:
        assert group_lag(asking, settings.topic) == {place: 12}
        publish(settings, [event(number) for number in range(12, 20)])
        assert group_lag(asking, settings.topic) == {place: 20}, "the end that was seen before is not kept"
    finally:
        asking.close(autocommit=False)


def test_the_work_page_says_how_many_records_wait_while_no_consumer_runs(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    publish(kafka_settings, [event(number) for number in range(12)])
    with running_console(tmp_path, kafka=kafka_settings.model_dump(exclude_none=True)) as console:
        client = console.client()
        _until(lambda: "12 records wait" in client.open("/work").text)
        status = lag(console.settings)
    assert status == 12


def test_the_watch_outlives_a_broker_that_goes_away(own_broker: EmbeddedBroker) -> None:
    settings = fresh_kafka_settings(own_broker.bootstrap_servers)
    ensure_topics(settings, (settings.topic,))
    _produce(settings, 3)
    # By partition: the embedded broker may make the topic itself, with more partitions than one.
    reported: dict[int, int] = {}

    def report(_topic: str, partition: int, behind: int) -> None:
        reported[partition] = behind

    stop = threading.Event()
    watch = threading.Thread(target=lambda: watch_lag(settings, report, every_seconds=0.1, stop=stop))
    watch.start()
    try:
        _until(lambda: sum(reported.values()) == 3)
        own_broker.stop()
        own_broker.start()  # the embedded broker forgets everything
        ensure_topics(settings, (settings.topic,))
        _produce(settings, 5)
        _until(lambda: sum(reported.values()) == 5)
    finally:
        stop.set()
        watch.join(30)
    assert not watch.is_alive()


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)
