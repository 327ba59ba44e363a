"""Several processes on one ledger, and what is left of one that was killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ledger import ledger_process
from support.ledger.ledger_invariants import check_invariants

from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import EditState, Lane, Plan, PlannedBatch

TESTS = Path(__file__).parents[2]
BATCH = 5


class Processes:
    """Starts ledger processes, and kills with -9 what a test leaves running."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, role: str, url: str, name: str = "worker") -> subprocess.Popen[str]:
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        process = subprocess.Popen(
            [sys.executable, "-m", ledger_process.__name__, role, url, name],
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def stop(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.stop()


@pytest.fixture
def shared(url: str) -> Iterator[Ledger]:
    """The ledger with the real clock, as the processes have it."""
    with open_ledger(url) as opened:
        opened.generations.start("base")
        yield opened


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def wait_for_claim(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("claimed")


def plan_all(ledger: Ledger) -> None:
    ids = [edit.id for edit in ledger.plans.pending(None, 10_000)]
    batches = tuple(
        PlannedBatch(n, Lane.BATCH, "scen", tuple(ids[n : n + BATCH]), "test")
        for n in range(0, len(ids), BATCH)
    )
    ledger.plans.store(Plan(None, 0, batches))


def assert_the_newest_facts_are_live(ledger: Ledger) -> None:
    check_invariants(ledger)
    counts = ledger.audit.counts()
    assert counts[EditState.LIVE] == ledger_process.FACTS
    assert counts[EditState.SUPERSEDED] == ledger_process.RECORDS - ledger_process.FACTS
    for edit in ledger.generations.live_edits():
        rivals = ledger.audit.facts(subject=edit.subject)
        assert max(rivals, key=lambda rival: (rival.occurred_at, rival.offset)).id == edit.id


def test_processes_that_write_at_once_lose_nothing(shared: Ledger, url: str, processes: Processes) -> None:
    # The same records twice: two consumers after a rebalance.
    for consumer in [processes.start("intake", url), processes.start("intake", url)]:
        finish(consumer)
    assert shared.intake.backlog() == ledger_process.RECORDS
    plan_all(shared)

    # The first alone until it has claimed: else the others may leave nothing for it.
    killed = processes.start("work", url, "worker-0")
    wait_for_claim(killed)
    workers = [processes.start("work", url, f"worker-{n}") for n in (1, 2)]
    killed.kill()
    for worker in workers:
        finish(worker)

    assert_the_newest_facts_are_live(shared)


def test_a_ledger_goes_on_by_itself_after_kills_at_any_instant(
    shared: Ledger, url: str, processes: Processes
) -> None:
    ledger_process.intake(shared)
    plan_all(shared)
    for delay in (0.0, 0.013, 0.037):
        worker = processes.start("work", url)
        wait_for_claim(worker)
        time.sleep(delay)
        worker.kill()
        worker.wait()
        check_invariants(shared)

    finish(processes.start("work", url))
    assert_the_newest_facts_are_live(shared)


def test_a_transaction_that_was_killed_half_way_leaves_nothing_behind(
    shared: Ledger, url: str, processes: Processes
) -> None:
    ledger_process.intake(shared)
    plan_all(shared)
    worker = processes.start("hang", url)
    wait_for_claim(worker)
    worker.kill()
    worker.wait()

    check_invariants(shared)
    assert shared.audit.counts()[EditState.APPLYING] == BATCH
    assert {edit.reason for edit in shared.audit.facts()} == {None}
    finish(processes.start("work", url))
    assert_the_newest_facts_are_live(shared)


def test_a_new_ledger_is_made_once_by_processes_that_start_together(
    tmp_path: Path, processes: Processes
) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'ledger.db'}"
    for consumer in [processes.start("intake", url) for _ in range(3)]:
        finish(consumer)

    with open_ledger(url) as ledger:
        assert ledger.intake.backlog() == ledger_process.RECORDS


def test_readers_see_whole_generations_while_others_publish(
    shared: Ledger, url: str, processes: Processes
) -> None:
    ledger_process.intake(shared)
    plan_all(shared)
    worker = processes.start("work", url)
    readings = 0
    while worker.poll() is None:
        live: dict[str, str] = {}
        for generation in shared.generations.since(0):
            assert generation.enabled or generation.disabled
            for edit_id in generation.disabled:
                del live[edit_id]
            live.update(generation.enabled)
        readings += 1
    finish(worker)
    assert readings > 1
