"""The command line as a user types it, in a folder of its own."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.__main__ import main
from daemon.events.fact_event import FactEvent
from daemon.ledger import open_ledger
from daemon.ledger.values import ConsumedRecord


@dataclass(frozen=True)
class Reported:
    """What one command said."""

    code: int
    out: str
    err: str


Upkeep = Callable[..., Reported]


@pytest.fixture
def upkeep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Upkeep:
    """Runs `upkeep ARGUMENTS` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UPKEEP_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Reported:
        monkeypatch.setattr(sys, "argv", ["upkeep", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        printed = capsys.readouterr()
        return Reported(int(code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def site(upkeep: Upkeep, tmp_path: Path) -> Path:
    """A folder with the settings that `upkeep init` writes."""
    assert upkeep("init").code == 0
    return tmp_path


@pytest.fixture
def begun(site: Path) -> Path:
    """The same with a ledger, in which nothing is."""
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db") as ledger:
        ledger.migrate()
    return site


def arrive(site: Path, *events: FactEvent) -> None:
    """The ledger of the folder takes these in, as the consumer would."""
    with open_ledger(f"sqlite:///{site}/upkeep-data/ledger.db") as ledger:
        ledger.migrate()
        ledger.intake.record(
            [
                ConsumedRecord("fact-updates", 0, offset, f"digest-{offset}", event)
                for offset, event in enumerate(events)
            ]
        )


def event_of(event_id: str, target: str, **fields: object) -> FactEvent:
    """A new capital of France; the number in the id is the day in May on which it became that."""
    return FactEvent.model_validate(
        {
            "event_id": event_id,
            "subject": "France",
            "relation": "capital",
            "prompt": "The capital of France is",
            "target_new": target,
            "occurred_at": datetime(2026, 5, int(event_id[1:]), tzinfo=UTC),
            **fields,
        }
    )
