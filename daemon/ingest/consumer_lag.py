"""Measure from outside how far the consumer group is behind: a stopped consumer cannot report it itself."""

import threading
from collections.abc import Callable

import structlog
from kafka import KafkaConsumer, TopicPartition

from daemon.ingest.kafka_client import (
    DEFAULT_TIMING,
    KafkaTiming,
    close_consumer,
    offsets_of,
    open_consumer,
    translated,
)
from daemon.ingest.watermarks import watermarks
from daemon.process.outage import Outage
from daemon.settings.tables import KafkaSettings
from edits.errors import PermanentError, TemporaryError

_log = structlog.get_logger(__name__)


def watch_lag(
    kafka: KafkaSettings,
    report: Callable[[str, int, int], None],
    *,
    every_seconds: float,
    stop: threading.Event,
) -> None:
    """Call `report` with topic, partition and records behind, every so often until `stop` is set.

    Joins no group and commits nothing. A broker that is away is waited for; where we have no right to ask, that
    is logged once, and nothing is reported.
    """
    outage = Outage("the Kafka broker", "the lag of the consumer group is not known")
    while not stop.is_set():
        try:
            asking = open_consumer(kafka, max_poll_records=1)
            try:
                while not stop.is_set():
                    for place, behind in group_lag(asking, kafka.topic).items():
                        report(place.topic, place.partition, behind)
                    outage.ended()
                    stop.wait(every_seconds)
            finally:
                close_consumer(asking)
        except TemporaryError as error:
            stop.wait(outage.failed(error))
        except PermanentError as error:
            _log.error("the lag of the consumer group cannot be measured", reason=str(error))
            return


def records_behind(kafka: KafkaSettings, timing: KafkaTiming = DEFAULT_TIMING) -> int:
    """How many records of the topic the group has not committed now.

    Raises:
        BrokerUnavailable: no broker answers.
        KafkaRefused: we have no right to ask.
    """
    return sum(measured_lag(kafka, timing).values())


def measured_lag(kafka: KafkaSettings, timing: KafkaTiming = DEFAULT_TIMING) -> dict[int, int]:
    """The same of each partition."""
    asking = open_consumer(kafka, max_poll_records=1, timing=timing)
    try:
        return {place.partition: behind for place, behind in group_lag(asking, kafka.topic).items()}
    finally:
        close_consumer(asking)


def group_lag(asking: KafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    """How many records of each partition the group has not committed; empty while there is no such topic.

    Raises:
        BrokerUnavailable: no broker answers.
        KafkaRefused: we have no right to ask.
    """
    with translated(f"asking for the partitions of {topic}"):
        places = [
            TopicPartition(topic, number) for number in sorted(asking.partitions_for_topic(topic) or ())
        ]
    ends, starts = offsets_of(asking.end_offsets, places), offsets_of(asking.beginning_offsets, places)
    with translated("asking what the consumer group has committed"):
        done = {
            # Nothing committed yet: the group will begin with the oldest record.
            place: max(asking.committed(place, timeout_ms=DEFAULT_TIMING.answer_ms) or 0, starts[place])
            for place in places
            if place in ends
        }
        ends |= watermarks(asking, {place: ends[place] - 1 for place in done if done[place] < ends[place]})
    return {place: max(ends[place] - done[place], 0) for place in done}
