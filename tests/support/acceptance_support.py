"""What the acceptance tests share: the daemon as real processes, and what must be true whatever happens to it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
from support.waiting import eventually, free_port

from daemon.ingest.kafka_client import ProducerRecord, ensure_topics, open_producer, send_all
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import EditState, RecordOutcome
from daemon.settings.settings import ENV_PREFIX, Settings, load_settings
from daemon.settings.settings_file import write_settings
from demo.stream.records import StreamRecord, event_record
from demo.world.world import World
from editors.store.adapter_store import AdapterStore

BASE = files("demo").joinpath("base")
UNFINISHED = (EditState.PENDING, EditState.PLANNED, EditState.APPLYING)

# Everything that has to be waited for is short; the lanes are planned by the tests or within half a second.
QUICK: Mapping[str, Mapping[str, Any]] = {
    "model": {"path": str(BASE), "max_new_tokens": 16},
    "kafka": {"session_timeout_ms": 2_500, "request_timeout_ms": 5_000},
    "ledger": {"url": "sqlite:///data/ledger.db"},
    "store": {"path": "data/adapters"},
    "planner": {"batch_size": 4, "embedding": "tfidf"},
    "worker": {"lease_seconds": 3.0, "poll_seconds": 0.1},
    "schedule": {"urgent_seconds": 0.5, "check_seconds": 3600.0, "housekeeping_seconds": 2.0},
}


@dataclass
class Site:
    """A folder with a settings file, and everything that can be done with it from outside."""

    folder: Path
    settings: Settings
    ledger: Ledger
    processes: list["Daemon"] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "upkeep.toml"

    @contextlib.contextmanager
    def daemon(self, role: str = "run") -> Iterator["Daemon"]:
        """The daemon, or one role of it; at the end it is killed, if it still runs."""
        daemon = Daemon(self, role)
        self.processes.append(daemon)
        try:
            yield daemon
        finally:
            daemon.kill_tree()

    def publish(self, records: Iterable[StreamRecord | ProducerRecord]) -> None:
        """Write records to the topic; returns when the broker has confirmed all of them."""
        kafka = self.settings.kafka
        ensure_topics(kafka, kafka.topics)
        messages = [
            item
            if isinstance(item, ProducerRecord)
            else ProducerRecord(kafka.topic, item.key, item.value, item.headers)
            for item in records
        ]
        producer = open_producer(kafka)
        try:
            for start in range(0, len(messages), 2_000):
                send_all(producer, messages[start : start + 2_000], timeout_seconds=30)
        finally:
            producer.close(timeout=2)

    def upkeep(self, *arguments: str, expect: int = 0) -> Any:
        """What a command prints with --json."""
        command = [sys.executable, "-m", "daemon", *arguments, "--config", str(self.config), "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, env=environment(), timeout=120
        )
        assert done.returncode == expect, f"{arguments} ended with {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    def get(self, path: str) -> str:
        return httpx.get(self._url(path), timeout=10).raise_for_status().text

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        return httpx.post(self._url(path), json=content, timeout=60).raise_for_status().json()

    def answers(self, prompts: Sequence[str], *, base: bool = False) -> list[str]:
        """What the serving role says."""
        most = self.settings.serve.max_batch
        found: list[str] = []
        for start in range(0, len(prompts), most):
            asked = {"prompts": list(prompts[start : start + most]), "base": base}
            found += [answer["text"] for answer in self.post("/v1/generate", asked)["answers"]]
        return found

    def served_generation(self) -> int | None:
        """None while nobody serves."""
        try:
            return int(json.loads(self.get("/v1/generation"))["generation"])
        except httpx.HTTPError:
            return None

    def _url(self, path: str) -> str:
        return f"http://{self.settings.serve.host}:{self.settings.serve.port}{path}"

    def outcomes(self) -> dict[str, int]:
        """How many records had each outcome."""
        return {outcome.value: count for outcome, count in self.ledger.intake.outcomes().items()}

    def consumed(self) -> int:
        return sum(self.outcomes().values())

    def unfinished(self) -> int:
        counts = self.ledger.audit.counts()
        return sum(counts.get(state, 0) for state in UNFINISHED)

    def live_events(self) -> set[str]:
        return {edit.event_id for edit in self.ledger.generations.live_edits()}

    def head(self) -> int:
        head = self.ledger.generations.head()
        return head.number if head is not None else 0

    def wait_served(self) -> None:
        """Until the serving role answers with the newest generation."""
        eventually(lambda: self.served_generation() == self.head(), "the newest generation is served")

    def log(self) -> list[dict[str, Any]]:
        """Every line that the processes logged so far; each must be one JSON object."""
        return [line for process in self.processes for line in process.log()]

    def require_sound(self, *, consumed: int) -> None:
        """Nothing lost, nothing twice, nothing half-done."""
        outcomes = self.outcomes()
        assert sum(outcomes.values()) == consumed, outcomes
        assert sum(self.ledger.audit.counts().values()) == outcomes.get(RecordOutcome.ACCEPTED, 0)
        assert self.unfinished() == 0, self.ledger.audit.counts()
        store = AdapterStore(self.settings.store.path)
        for digest in store.digests():
            store.load(digest)  # proves that it is whole
        assert set(self.ledger.generations.live().values()) <= store.digests()


class Daemon:
    """`upkeep run`, or one role, as a process whose log goes to a file of its own."""

    def __init__(self, site: Site, role: str) -> None:
        self._config = str(site.config)
        self.log_file = site.folder / f"log-{len(site.processes)}-{role}.jsonl"
        with self.log_file.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon", role, "--config", self._config],
                cwd=site.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text(encoding="utf-8").splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines whose message begins so."""
        return [line for line in self.log() if str(line.get("event", "")).startswith(event)]

    def roles(self) -> dict[str, int]:
        """The role processes that work with this settings file, by name; orphans among them."""
        command = ["ps", "-ww", "-eo", "pid=,stat=,args="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        found = {}
        for line in listed.stdout.splitlines():
            pid, stat, *command = line.split()
            if command[-2:] == ["--config", self._config] and not stat.startswith("Z"):
                found[command[-3]] = int(pid)
        return {
            role: pid for role, pid in found.items() if role in ("consume", "schedule", "worker", "serve")
        }

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL for this process alone."""
        self.process.kill()
        self.process.wait()

    def kill_tree(self) -> None:
        """SIGKILL for all that work with this settings file, as when the machine dies."""
        for pid in (self.process.pid, *self.roles().values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def furnished(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> Iterator[Site]:
    """A house in `folder` with quick settings; `changes` are laid over them, section by section."""
    sections: dict[str, dict[str, Any]] = {name: dict(table) for name, table in QUICK.items()}
    sections["serve"] = {"port": free_port()}
    for name, table in changes.items():
        sections[name] = sections.get(name, {}) | dict(table)
    config = folder / "upkeep.toml"
    write_settings(config, sections, header="Of an acceptance test.")
    settings = load_settings(config)
    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        yield Site(folder, settings, ledger)


def environment() -> dict[str, str]:
    """Ours, without settings that somebody exported for real work."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    # Worker and server share two cores with the tests: their threads would only wait for each other.
    return ours | {"OMP_NUM_THREADS": "1"}


def still_running(config: Path) -> list[str]:
    """Command lines of the processes that work with this settings file, and of the broker that it names."""
    return list(processes_of(config).values())


def processes_of(config: Path) -> dict[int, str]:
    """The same by process id."""
    settings = tomllib.loads(config.read_text(encoding="utf-8"))
    marks = (str(config), f"tcp://{settings['kafka']['bootstrap_servers']}")
    found = {}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:  # it ended meanwhile
            continue
        if any(mark in line for mark in marks):
            found[int(process.parent.name)] = line
    return found


@dataclass(frozen=True, slots=True)
class News:
    """One fact of the demo's world that has changed, and the event that says so."""

    event_id: str
    subject: str
    prompt: str
    value: str
    record: StreamRecord


def news(
    name: str,
    count: int,
    *,
    skip: int = 0,
    version: int = 0,
    op: str = "assert",
    priority: str = "urgent",
) -> list[News]:
    """Changes of `count` facts, each about a subject of its own; the same facts for the same `skip`.

    A higher `version` is later news of the same facts, with another value.
    """
    world = World.generate()
    reported = []
    for subject in world.subjects[skip : skip + count]:
        fact = world.facts_about(subject)[0]
        value, prompt = world.other_values(fact)[version], world.prompt(fact)
        event = {
            "event_id": f"{name}-{subject}",
            "op": op,
            "subject": subject,
            "relation": fact.relation,
            "prompt": prompt,
            **({"target_new": value} if op == "assert" else {}),
            "priority": priority,
            "occurred_at": f"2026-05-0{version + 1}T12:00:00Z",
        }
        reported.append(News(f"{name}-{subject}", subject, prompt, value, event_record(event)))
    return reported
