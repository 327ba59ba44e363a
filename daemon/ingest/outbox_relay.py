"""The outbox relay: publishes what became of each edit to `edit-outcomes`, at least once each."""

import json
import os
import socket
import threading
from contextlib import suppress
from typing import Any

import structlog
from kafka import KafkaProducer

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
from daemon.ledger import Ledger
from daemon.ledger.errors import LedgerUnavailable
from daemon.process.outage import Outage
from daemon.settings.tables import KafkaSettings

BATCH = 500
POLL_SECONDS = 1.0
SEND_TIMEOUT_SECONDS = 12.0
# Longer than a batch may take to be confirmed or given up: nobody else sends while it can still arrive.
TURN_SECONDS = 30.0


class OutboxRelay:
    """Sends the ledger's unsent outbox rows, in order, and marks them when the broker has confirmed them.

    Of several relays one has its turn, and the next one takes over when it has closed, or has been silent for a while.
    A crash between the two sends a row twice: readers know an outcome by `edit_id`, `state` and `generation`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        ledger: Ledger,
        timing: KafkaTiming = DEFAULT_TIMING,
        send_seconds: float = SEND_TIMEOUT_SECONDS,
    ) -> None:
        self._settings = settings
        self._timing = timing
        self._send_seconds = send_seconds
        self._ledger = ledger
        self._producer: KafkaProducer | None = None
        self._name = f"{socket.gethostname()}:{os.getpid()}:{id(self)}"
        self._log: Any = structlog.get_logger(__name__)
        self._broker = Outage("the Kafka broker", "edit outcomes wait in the ledger; trying again")
        self._store = Outage("the ledger", "edit outcomes wait; trying again")

    def run(self, stop: threading.Event) -> None:
        """Relay until `stop` is set.

        Raises:
            KafkaRefused: the settings, the credentials or the rights do not do.
        """
        try:
            while not stop.is_set():
                stop.wait(self._poll_once())
        finally:
            self.close()
            with suppress(LedgerUnavailable):  # then the turn ends by itself
                self._ledger.outbox.yield_turn(self._name)

    def _poll_once(self) -> float:
        """Relay one batch; the seconds to wait before the next one."""
        try:
            sent = self.relay_once()
        except BrokerUnavailable as error:
            self.close()
            return self._broker.failed(error)
        except LedgerUnavailable as error:
            return self._store.failed(error)
        self._store.ended()
        return 0.0 if sent == BATCH else POLL_SECONDS

    def relay_once(self) -> int:
        """Send up to one batch of unsent rows, if it is our turn; how many there were.

        Raises:
            BrokerUnavailable: some may have been sent; none is marked, all will be sent again.
            LedgerUnavailable: the rows cannot be read or marked now.
        """
        rows = self._ledger.outbox.claim(self._name, BATCH, seconds=TURN_SECONDS)
        if not rows:
            return 0
        messages = [
            ProducerRecord(
                self._settings.outcomes_topic,
                row.key.encode("utf-8"),
                json.dumps(row.payload, ensure_ascii=False).encode("utf-8"),
            )
            for row in rows
        ]
        send_all(self._connected(), messages, timeout_seconds=self._send_seconds)
        self._broker.ended()
        self._ledger.outbox.mark_sent([row.id for row in rows])
        self._log.info("edit outcomes published", outcomes=len(rows))
        return len(rows)

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            ensure_topics(self._settings, (self._settings.outcomes_topic,), self._timing)
            self._producer = open_producer(self._settings, self._timing)
        return self._producer

    def close(self) -> None:
        """Drop the connection; the next `relay_once` makes a new one."""
        if self._producer is not None:
            close_producer(self._producer)
            self._producer = None
