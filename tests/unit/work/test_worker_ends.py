"""A worker that ends as it should is forgotten; one that is killed is missed."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.waiting import eventually, free_port

from daemon.ledger import Ledger, open_ledger
from daemon.settings.settings import Settings, load_settings
from daemon.settings.settings_file import write_settings
from daemon.work import worker
from edits.errors import TemporaryError

BASE = Path(__file__).parents[3] / "demo" / "base"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The settings file of a worker on the demo's base, with a ledger of its own."""
    tables: dict[str, dict[str, object]] = {
        "model": {"path": str(BASE)},
        "ledger": {"url": "sqlite:///ledger.db"},
        "store": {"path": "store"},
        "metrics": {"port": free_port()},
        "worker": {"poll_seconds": 0.05},
    }
    write_settings(tmp_path / "upkeep.toml", tables, header="a test's")
    with open_ledger(load_settings(tmp_path / "upkeep.toml").ledger.url) as ledger:
        ledger.migrate()
    return tmp_path / "upkeep.toml"


@pytest.fixture
def settings(config: Path) -> Settings:
    return load_settings(config)


def seen(settings: Settings) -> list[str]:
    """The workers of whom the ledger knows."""
    with open_ledger(settings.ledger.url) as ledger:
        return [one.worker for one in ledger.control.workers()]


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_is_forgotten_and_a_killed_one_is_not(
    config: Path, settings: Settings
) -> None:
    command = [sys.executable, "-m", "daemon", "worker", "--config", str(config)]
    for number, left in ((signal.SIGTERM, 0), (signal.SIGKILL, 1)):
        with subprocess.Popen(command) as process:
            try:
                eventually(lambda: seen(settings), seconds=120)
                process.send_signal(number)
                process.wait(60)
            finally:
                process.kill()
        assert len(seen(settings)) == left


def test_a_worker_of_one_command_is_forgotten_when_it_has_done_its_work(settings: Settings) -> None:
    at_work: list[list[str]] = []
    worker.work_until_idle(settings, lambda: at_work.append(seen(settings)) is None)
    assert [len(workers) for workers in at_work] == [1]
    assert seen(settings) == []


@pytest.mark.parametrize(("trouble", "left"), [(KeyboardInterrupt(), 0), (RuntimeError("?"), 1)])
def test_who_interrupts_a_command_ends_its_worker_properly_and_a_fault_of_ours_does_not(
    settings: Settings, trouble: BaseException, left: int
) -> None:
    def done() -> bool:
        raise trouble

    with pytest.raises(type(trouble)):
        worker.work_until_idle(settings, done)
    assert len(seen(settings)) == left


def test_a_worker_ends_although_the_ledger_is_away(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(worker, "open_ledger", _leaving(open_ledger, ended))
    stop = threading.Event()
    stop.set()
    worker.run(settings, stop)
    assert ended.is_set()


def _leaving(opened: Callable[[str], Ledger], ended: threading.Event) -> Callable[[str], Ledger]:
    """A ledger that is away by the time its worker ends."""

    def away(worker: str) -> None:
        ended.set()
        raise TemporaryError("the ledger is away")

    def open_one(url: str) -> Ledger:
        ledger = opened(url)
        ledger.control.worker_ended = away  # type: ignore[method-assign]  # the ledger fails at this
        return ledger

    return open_one
