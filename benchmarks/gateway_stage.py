"""What the gateway's benchmark needs around it: facts that are live in a ledger, and `upkeep gateway` as a process."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import ConsumedRecord, EditState, Lane
from daemon.planning.cycle import plan_cycle
from daemon.served_model import open_model
from daemon.settings.settings import Settings
from daemon.settings.settings_file import write_settings
from daemon.work.worker import Worker
from monitoring.metrics.process_metrics import Metrics

REPOSITORY = Path(__file__).resolve().parents[1]
READY_SECONDS = 400.0  # with the machine's cores shared
OPEN = (EditState.PENDING, EditState.PLANNED, EditState.APPLYING)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class GatewayStage:
    """A folder with ledger, store and adapters, and the base that they belong to.

    Attributes:
        engine: where the engine listens.
    """

    folder: Path
    model: Path
    engine: str

    def tables(self, port: int = 8090, metrics_port: int = 9466) -> dict[str, dict[str, Any]]:
        """The settings of worker and gateway."""
        return {
            "model": {"path": str(self.model)},
            "ledger": {"url": f"sqlite:///{self.folder / 'ledger.db'}"},
            "store": {"path": str(self.folder / "store")},
            # The base's own vectors would need the base a second time; what is planned together does not matter here.
            "planner": {"embedding": "tfidf"},
            "serve": {"engine": "vllm"},
            "log": {"level": "warning"},
            "gateway": {
                "engine": self.engine,
                "adapters": str(self.folder / "adapters"),
                "port": port,
                "metrics_port": metrics_port,
            },
        }

    def publish(self, facts: Sequence[Mapping[str, Any]]) -> None:
        """Have the facts planned, trained, checked and published by the daemon's own worker, unless edits are live already.

        Args:
            facts: `subject`, `relation`, `prompt` and `target_new`.
        """
        settings = Settings.model_validate(self.tables())
        with open_ledger(settings.ledger.url) as ledger:
            ledger.migrate()
            if ledger.generations.live():
                return
            ledger.intake.record([_record(fact, offset) for offset, fact in enumerate(facts)])
            plan_cycle(ledger, settings, lanes=(Lane.URGENT, Lane.BATCH))
            model = open_model(settings, ledger)
            worker = Worker(settings, ledger, model, Metrics(CollectorRegistry()))
            while _unsettled(ledger):
                if not worker.work_once():
                    time.sleep(0.05)  # a batch was put off

    @contextmanager
    def gateway(self) -> Iterator["GatewayProcess"]:
        """While the block runs, `upkeep gateway` answers in a process of its own, at the ledger's head."""
        port, metrics_port = _free_ports(2)
        config = self.folder / "gateway.toml"
        write_settings(config, self.tables(port, metrics_port), header="benchmarks/gateway.py")
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "daemon", "gateway", "--config", str(config)]
        process = subprocess.Popen(command, cwd=self.folder, env=environment)  # noqa: S603 -- our own
        try:
            running = GatewayProcess(port, metrics_port, process)
            running.wait_ready()
            yield running
        finally:
            process.terminate()
            process.wait(60)


@dataclass(frozen=True)
class GatewayProcess:
    """A gateway that runs, and what it has used so far."""

    port: int
    metrics_port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        """Until it has taken over the head."""
        deadline = time.monotonic() + READY_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{self.metrics_port}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise SystemExit("the gateway did not start")

    def processor_seconds(self) -> float:
        """User and system time of all of its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def total(self, metric: str) -> float:
        """The sum over all labels of a counter, or of a histogram's `_sum`."""
        lines = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((metric + " ", metric + "{")))


def read_facts(path: Path, count: int) -> list[dict[str, Any]]:
    """So many facts of a JSONL file, each of a subject of its own and with a rephrase."""
    found: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row.get("rephrase_prompts"):
                found.setdefault(row["subject"], row)
            if len(found) == count:
                return list(found.values())
    raise SystemExit(f"{path} has {len(found)} subjects whose facts have a rephrase, {count} are needed")


def _record(fact: Mapping[str, Any], offset: int) -> ConsumedRecord:
    names = ("subject", "relation", "prompt", "target_new")
    event = FactEvent.model_validate(
        {
            "event_id": f"benchmark-{offset}",
            "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
            **{name: fact[name] for name in names},
        }
    )
    digest = hashlib.sha256(event.model_dump_json().encode()).hexdigest()
    return ConsumedRecord("fact-updates", 0, offset, digest, event)


def _unsettled(ledger: Ledger) -> int:
    counts = ledger.audit.counts()
    return sum(counts[state] for state in OPEN)


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
