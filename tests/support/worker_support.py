"""A worker on the demo's base with a ledger that a test fills, and the facts that it learns."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from support.ledger.ledger_backends import Story

from daemon.events.fact_event import FactEvent
from daemon.ledger.values import Edit
from daemon.served_model import ServedModel, open_model
from daemon.settings.settings import Settings
from daemon.work.worker import Worker
from edits.errors import TemporaryError
from monitoring.metrics.process_metrics import Metrics

BASE = Path(__file__).parents[2] / "demo" / "base"
FRANCE = "The capital of France is"


class Shop:
    """One worker, its ledger and a model that follows it."""

    def __init__(self, story: Story, folder: Path, **sections: Any) -> None:
        self.story = story
        self.settings = Settings.model_validate(
            {"model": {"path": str(BASE)}, "store": {"path": str(folder / "store")}, **sections}
        )
        self.metrics = Metrics(CollectorRegistry())
        self.worker = Worker(
            self.settings, story.ledger, open_model(self.settings, story.ledger), self.metrics
        )

    def work(self) -> None:
        while self.worker.work_once():
            pass

    def attempt(self) -> None:
        """One turn, an hour after the last: whatever was put off is due."""
        self.story.clock.advance(3600)
        with suppress(TemporaryError):
            self.worker.work_once()

    def ended(self, outcome: str) -> float:
        """How many batches ended so."""
        labels = {"editor": "scen", "outcome": outcome}
        return self.metrics.registry.get_sample_value("upkeep_edit_batches_total", labels) or 0.0

    def states(self, edits: list[Edit]) -> list[str]:
        return [self.story.state(edit) for edit in edits]

    def ask(self, prompt: str) -> str:
        return self.served().generate([prompt], max_new_tokens=16)[0].text

    def served(self) -> ServedModel:
        return open_model(self.settings, self.story.ledger)


_days = iter(range(1, 10_000))


def fact(subject: str, prompt: str, target: str | None, **changes: Any) -> FactEvent:
    day = next(_days)
    return FactEvent.model_validate(
        {
            "event_id": f"{subject} {day}",
            "op": "assert" if target is not None else "retract",
            "subject": subject,
            "prompt": prompt,
            "target_new": target,
            "occurred_at": f"2026-01-{1 + day // 24 % 28:02}T{day % 24:02}:00:00Z",
            **changes,
        }
    )
