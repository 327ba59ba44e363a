"""A consumer process to kill: `python consumer_process.py KAFKA_SETTINGS_JSON LEDGER_URL`."""

import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from daemon.ingest.consumer import Consumer
from daemon.ledger import open_ledger
from daemon.settings.settings import Settings
from daemon.settings.tables import ConsumerSettings, KafkaSettings


class NoMetrics:
    def event(self, outcome: str, count: int) -> None:
        pass

    def lag(self, topic: str, partition: int, records: int) -> None:
        pass


def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    settings = Settings(
        kafka=KafkaSettings.model_validate_json(sys.argv[1]), consumer=ConsumerSettings(max_poll_records=100)
    )
    with open_ledger(sys.argv[2]) as ledger:
        Consumer(
            settings, ledger=ledger, metrics=NoMetrics(), clock=lambda: datetime(2026, 5, 1, tzinfo=UTC)
        ).run(stop)


if __name__ == "__main__":
    main()
