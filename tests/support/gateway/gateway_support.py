"""The gateway's role on a real socket, in front of an engine that a test names, with a ledger to which tests publish."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from support.ledger.ledger_backends import Clock, Story
from support.waiting import eventually, free_port

from daemon.events.fact_event import FactEvent
from daemon.gateway import gateway_role
from daemon.gateway.edits import PREFIX
from daemon.ledger import Ledger, open_ledger
from daemon.planning.scheduler import jobs_of
from daemon.served_model import open_model
from daemon.settings.settings import Settings
from daemon.work.worker import Worker
from editors import EditedModel, build_editor, load_base
from editors.base.base import Base
from editors.index import load_matcher
from editors.routing.scope_router import Route
from editors.store.adapter_store import AdapterStore
from edits.prompts import Prompt
from monitoring.metrics.process_metrics import Metrics

FOLLOW_SECONDS = 0.02


class Facts:
    """A base, a ledger and a store to which facts are published without a worker; gateways follow them."""

    def __init__(self, folder: Path, base: Path, *, url: str | None = None) -> None:
        """
        Args:
            url: of the ledger; unset: a file of SQLite.
        """
        self.folder = folder
        self.base: Base = load_base(str(base), device="cpu")
        self.base_path = base
        self.matcher = load_matcher()
        self.url = url or f"sqlite:///{folder}/ledger.db"
        self.ledger: Ledger = open_ledger(self.url)
        self.ledger.migrate()
        self.store = AdapterStore(folder / "store")
        self.story = Story(self.ledger, Clock(), base_hash=self.base.hash)
        self._published = 0

    def publish(self, *facts: dict[str, Any], editor: str = "scen") -> dict[str, str]:
        """Train facts, publish them as one generation; edit id by subject."""
        return self.go_live(self.prepare(*facts, editor=editor))

    def prepare(self, *facts: dict[str, Any], editor: str = "scen") -> "Prepared":
        """Train facts; they go live in the order in which they were prepared."""
        self._published += 1
        events = [
            FactEvent.model_validate(
                {
                    "event_id": f"{number} {self._published}",
                    "occurred_at": f"2026-01-{self._published:02}T00:00:00Z",
                    **fact,
                }
            )
            for number, fact in enumerate(facts)
        ]
        edits = self.story.plan_urgently(*events)
        requests = [edit.request() for edit in edits]
        parent = EditedModel(self.base, self.store, matcher=self.matcher)
        shard = build_editor(editor).apply(requests, base=self.base, parent=parent)
        return Prepared({request.subject: request.edit_id for request in requests}, self.store.save(shard))

    def go_live(self, prepared: "Prepared") -> dict[str, str]:
        """Publish what was trained as one generation; edit id by subject."""
        live = dict.fromkeys(prepared.edits.values(), prepared.digest)
        assert self.story.publish(self.story.claim(), live=live) is not None
        return prepared.edits

    def settings(self, engine: str, **gateway: Any) -> Settings:
        """Of a gateway in front of that engine; every gateway writes to one folder, as two beside one engine do."""
        ports: dict[str, Any] = {"port": free_port(), "metrics_port": free_port()}
        ports["url"] = f"http://127.0.0.1:{ports['port']}"  # for the parity check
        return Settings.model_validate(
            {
                "model": {"path": str(self.base_path), "max_new_tokens": 8},
                "store": {"path": str(self.folder / "store")},
                "ledger": {"url": self.url},
                "gateway": {"engine": engine, "adapters": str(self.folder / "adapters"), **ports, **gateway},
            }
        )


@dataclass(frozen=True)
class Prepared:
    """Trained facts that no generation has yet: their edits by subject, and the digest of their shard."""

    edits: dict[str, str]
    digest: str


class EngineModel:
    """What a real engine's models would answer, by the test's own base: `say` for the engine double."""

    def __init__(self, facts: Facts) -> None:
        self._edited = EditedModel(facts.base, facts.store, matcher=facts.matcher)
        self._edited.apply_generation(enabled=facts.ledger.generations.live(), disabled=())

    def say(self, model: str, prompt: Prompt, max_new_tokens: int) -> str:
        edit_id = model.split("-")[1] if model.startswith(PREFIX) else None
        routes = [Route(edit_id, 1.0)]
        return self._edited.generate([prompt], max_new_tokens=max_new_tokens, routes=routes)[0].text


class RunningGateway:
    """`gateway_role.run` in a thread."""

    def __init__(self, settings: Settings, **intervals: float) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.gateway.port}"
        self._health = f"http://127.0.0.1:{settings.gateway.metrics_port}"
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=gateway_role.run,
            args=(settings, self._stop),
            kwargs={"follow_seconds": FOLLOW_SECONDS, **intervals},
        )
        self._thread.start()

    def chat(self, *turns: str, model: str = "base", **fields: Any) -> httpx.Response:
        """One question, the last of these user turns."""
        messages = [{"role": "user", "content": turn} for turn in turns]
        return self.post("/v1/chat/completions", {"model": model, "messages": messages, **fields})

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=120, **options)

    def health(self, path: str = "/readyz") -> httpx.Response:
        return httpx.get(f"{self._health}{path}", timeout=20)

    def metric(self, line: str) -> float:
        """The value of the metric whose line begins so; 0 where there is none."""
        found = [one for one in self.health("/metrics").text.splitlines() if one.startswith(line + " ")]
        return float(found[0].split()[-1]) if found else 0.0

    def wait_generation(self, number: int) -> None:
        eventually(lambda: self.ready() and self.health().json()["generation"] >= number)

    def ready(self) -> bool:
        try:
            return self.health().status_code == 200
        except httpx.TransportError:
            assert self._thread.is_alive(), "the gateway ended"
            return False

    def stop(self) -> None:
        """As SIGTERM does."""
        self._stop.set()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextmanager
def gateway(settings: Settings, **intervals: float) -> Iterator[RunningGateway]:
    """While the block runs, a gateway answers; `intervals`: follow_seconds, sweep_seconds."""
    running = RunningGateway(settings, **intervals)
    try:
        eventually(running.ready)
        yield running
    finally:
        running.end()


def compare(facts: Facts, settings: Settings) -> list[Any]:
    """The scheduler asks for the check, a worker does it; what was logged."""
    (job,) = [job for job in jobs_of(settings, facts.ledger) if job.name == "parity_check"]
    job.work()
    model = open_model(settings, facts.ledger)
    worker = Worker(settings, facts.ledger, model, Metrics(CollectorRegistry()))
    with capture_logs() as logs:
        while worker.work_once():
            pass
    return logs


def edits_of(replies: Sequence[httpx.Response]) -> list[str]:
    """Which edit each reply says that it is of."""
    return [reply.headers.get("x-upkeep-edit", "none") for reply in replies]
