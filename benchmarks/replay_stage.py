"""The daemon's own roles at work on one ledger, store and topic, in this process: consumer and relay, planner, worker."""

import contextlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from daemon.ingest.consume_role import run_consume_role
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.ledger.values import Edit, EditState, Lane
from daemon.planning.cycle import plan_cycle
from daemon.served_model import ServedModel, open_model
from daemon.settings.settings import Settings
from daemon.work.worker import Worker
from demo.stream.records import StreamRecord
from demo.stream.topics import Publisher
from monitoring.metrics.process_metrics import Metrics

OPEN = (EditState.PENDING, EditState.PLANNED, EditState.APPLYING)
CONSUME_SECONDS = 120.0
WAVE_SECONDS = 1_800.0
POLL_SECONDS = 0.05


@dataclass
class ReplayStage:
    """One run's ledger, model and worker; `model` stands at the generation that was published last."""

    name: str
    ledger: Ledger
    model: ServedModel
    settings: Settings
    worker: Worker
    publisher: Publisher
    failures: list[BaseException]  # of the consumer
    records: int = 0

    def apply(self, wave: Sequence[StreamRecord]) -> Iterator[int]:
        """Publish the records, have them consumed, planned and worked off; yields at each generation.

        Raises:
            SystemExit: a role failed, or does not come to an end.
        """
        self.publisher.publish(wave)
        self.records += len(wave)
        self._wait_consumed()
        plan_cycle(self.ledger, self.settings, lanes=(Lane.URGENT, Lane.BATCH))
        deadline = time.monotonic() + WAVE_SECONDS
        while self._open_edits():
            worked = self.worker.work_once()
            if self.model.refresh():
                yield self.model.generation
            self._require(time.monotonic() < deadline, "a wave's edits are not settled")
            self._require((held := self.ledger.control.held()) is None, f"batches are held: {held}")
            if not worked:
                time.sleep(POLL_SECONDS)  # a batch was put off

    def edits(self) -> list[Edit]:
        """Every edit of the ledger."""
        return self.ledger.audit.facts(limit=self.records + 1)

    def account(self) -> dict[str, Any]:
        """What became of the records and of the edits that they made."""
        edits = self.edits()
        states = Counter(edit.state.value for edit in edits)
        outcomes = {outcome.value: count for outcome, count in self.ledger.intake.outcomes().items()}
        return {
            "records": self.records,
            **outcomes,
            **{state.value: states[state.value] for state in EditState if states[state.value]},
            "superseded_untrained": sum(
                e.state is EditState.SUPERSEDED and e.batch_id is None for e in edits
            ),
            "generations": self.model.generation,
            "rejections": [f"{e.event_id}: {e.reason}" for e in edits if e.state is EditState.REJECTED],
        }

    def _open_edits(self) -> int:
        counts = self.ledger.audit.counts()
        return sum(counts[state] for state in OPEN)

    def _wait_consumed(self) -> None:
        deadline = time.monotonic() + CONSUME_SECONDS
        while sum(self.ledger.intake.outcomes().values()) < self.records:
            self._require(not self.failures, f"the consumer ended: {self.failures}")
            self._require(time.monotonic() < deadline, "the consumer does not take the records in")
            time.sleep(POLL_SECONDS)

    def _require(self, holds: bool, complaint: str) -> None:
        if not holds:
            raise SystemExit(f"{self.name}: {complaint}")


@contextlib.contextmanager
def staged(
    name: str, folder: Path, servers: str, sections: Mapping[str, Mapping[str, Any]]
) -> Iterator[ReplayStage]:
    """Start a run in `folder` at the broker; at the end its roles have stopped and the folder stays."""
    settings = _settings(name, folder, servers, sections)
    metrics, stop = Metrics(CollectorRegistry()), threading.Event()
    failures: list[BaseException] = []
    with open_ledger(settings.ledger.url) as ledger, Publisher(settings.kafka) as publisher:
        ledger.migrate()

        def consume() -> None:
            try:
                run_consume_role(settings, ledger=ledger, metrics=metrics, clock=utc_now, stop=stop)
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=consume, name=f"consume-{name}")
        thread.start()  # it takes seconds to join its group, as the model does to load
        try:
            model = open_model(settings, ledger)
            worker = Worker(settings, ledger, model, metrics)
            yield ReplayStage(name, ledger, model, settings, worker, publisher, failures)
        finally:
            stop.set()
            thread.join()


def say(text: str) -> None:
    """Progress for whoever watches; standard output has the result alone."""
    print(text, file=sys.stderr, flush=True)


def _settings(name: str, folder: Path, servers: str, sections: Mapping[str, Mapping[str, Any]]) -> Settings:
    own: dict[str, dict[str, Any]] = {
        "kafka": {
            "bootstrap_servers": servers,
            "topic": f"replay-{name}",
            "outcomes_topic": f"replay-{name}-outcomes",
            "group_id": f"replay-{name}",
            "session_timeout_ms": 3_000,
        },
        "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
        "store": {"path": str(folder / "adapters")},
        # The base's own vectors would need the base a second time; what is planned together does not matter here.
        "planner": {"embedding": "tfidf"},
    }
    for section, table in sections.items():
        own[section] = own.get(section, {}) | dict(table)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(own, indent=2), encoding="utf-8")
    return Settings.model_validate(own)
