"""The role at the border to Kafka: the consumer, and beside it the relay of edit outcomes."""

import threading
from collections.abc import Callable
from datetime import datetime

from daemon.ingest.consumer import Consumer, ConsumerMetrics
from daemon.ingest.outbox_relay import OutboxRelay
from daemon.ledger import Ledger
from daemon.settings.settings import Settings


def run_consume_role(
    settings: Settings,
    *,
    ledger: Ledger,
    metrics: ConsumerMetrics,
    clock: Callable[[], datetime],
    stop: threading.Event,
) -> None:
    """Consume and relay until `stop` is set; if one of the two fails for good, both end.

    Raises:
        KafkaRefused: the settings, the credentials or the rights do not do.
    """
    failures: list[Exception] = []

    def relay() -> None:
        try:
            OutboxRelay(settings.kafka, ledger=ledger).run(stop)
        except Exception as error:
            failures.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=relay, name="outbox-relay")
    thread.start()
    try:
        Consumer(settings, ledger=ledger, metrics=metrics, clock=clock).run(stop)
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]
