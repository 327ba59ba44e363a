"""Where partitions end, as a fetch tells it: the embedded broker, when asked for it, names its last batch's first record."""

import time
from collections.abc import Mapping

from kafka import KafkaConsumer, TopicPartition

WATERMARK_SECONDS = 2.0


def watermarks(consumer: KafkaConsumer, last: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """The end of each partition, by a fetch of the record at an offset; none of one that does not answer in time.

    What the consumer was assigned is forgotten, and with it what it knew of ends.

    Args:
        last: the last offset of each partition, as far as it is known.
    """
    if not last:
        return {}
    consumer.assign(list(last))
    for place, offset in last.items():
        consumer.seek(place, offset)
    deadline = time.monotonic() + WATERMARK_SECONDS
    while time.monotonic() < deadline and any(consumer.highwater(place) is None for place in last):
        consumer.poll(timeout_ms=100)
    found = {place: consumer.highwater(place) for place in last}
    consumer.unsubscribe()
    return {place: int(end) for place, end in found.items() if end is not None}
