"""The serving role on a real socket, with the demo's base, a chat template and a ledger to which tests publish."""

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from support.ledger.ledger_backends import Clock, Story
from support.waiting import eventually, free_port

from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger, open_ledger
from daemon.serving import serve_role
from daemon.settings.settings import Settings
from editors import build_editor, load_base
from editors.base.base import Base
from editors.pretrained.hashing import hash_folder
from editors.store.adapter_store import AdapterStore

DEMO_BASE = Path(__file__).parents[2] / "demo" / "base"
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}Assistant: {{ m.content }}</s>{% else %}"
    "{{ m.role }}: {{ m.content }} {% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
FOLLOW_SECONDS = 0.02


@dataclass(frozen=True)
class Fact:
    """What a test lets the model know."""

    subject: str
    prompt: str
    answer: str


class EmbeddedServer:
    """`daemon.serving.serve_role.run` in a thread, and the ledger and store that it follows."""

    def __init__(
        self,
        folder: Path,
        serve: Mapping[str, Any],
        *,
        health_port: int | None = None,
        ledger_url: str | None = None,
    ) -> None:
        base = folder / "tiny"
        shutil.copytree(DEMO_BASE, base)
        (base / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
        self.settings = Settings.model_validate(
            {
                "model": {"path": str(base), "max_new_tokens": 16},
                "store": {"path": str(folder / "store")},
                "ledger": {"url": ledger_url or f"sqlite:///{folder}/ledger.db"},
                "index": {"encoder": ""},
                "serve": {
                    "port": free_port(),
                    "max_completion_tokens": 64,
                    "metrics_port": health_port,
                    **serve,
                },
            }
        )
        self.url = f"http://127.0.0.1:{self.settings.serve.port}"
        self._health = self.url if health_port is None else f"http://127.0.0.1:{health_port}"
        self.base: Base = load_base(base)  # the test's own, to train on: the server's belongs to its thread
        self.ledger: Ledger = open_ledger(self.settings.ledger.url)
        self.ledger.migrate()
        self.story = Story(self.ledger, Clock(), base_hash=hash_folder(base))
        self._days = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=serve_role.run,
            args=(self.settings, self._stop),
            kwargs={"follow_seconds": FOLLOW_SECONDS},
        )
        self._thread.start()

    def publish(self, *facts: Fact, wait: bool = True) -> int:
        """Train the facts, publish them as one generation, and wait until it answers; its number."""
        self._days += 1
        edits = self.story.plan_urgently(
            *(
                FactEvent.model_validate(
                    {
                        "event_id": f"{fact.subject} {self._days}",
                        "subject": fact.subject,
                        "prompt": fact.prompt,
                        "target_new": fact.answer,
                        "occurred_at": f"2026-01-{self._days:02}T00:00:00Z",
                    }
                )
                for fact in facts
            )
        )
        shard = build_editor("scen").apply([edit.request() for edit in edits], base=self.base)
        digest = AdapterStore(self.settings.store.path).save(shard)
        generation = self.story.publish(self.story.claim(), live={edit.id: digest for edit in edits})
        assert generation is not None
        if wait:
            self.wait_generation(generation.number)
        return generation.number

    def rollback_to(self, number: int) -> int:
        """Publish a generation that answers as an earlier one did; its number."""
        return self.ledger.generations.rollback_to(number, cause="test").number

    def wait_generation(self, number: int) -> None:
        eventually(lambda: self.get("/v1/generation").json().get("generation", -1) >= number)

    def wait_ready(self) -> None:
        eventually(self._ready)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=20, **options)

    def post(self, path: str, body: Mapping[str, Any], **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=dict(body), timeout=60, **options)

    def metric(self, line: str) -> float:
        """The value of the metric whose line begins so; 0 where there is none."""
        found = [one for one in self.get("/metrics").text.splitlines() if one.startswith(line + " ")]
        return float(found[0].split()[-1]) if found else 0.0

    def end(self) -> None:
        self._stop.set()
        self._thread.join(30)
        self.ledger.close()
        assert not self._thread.is_alive()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self._health}/readyz", timeout=20).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def embedded_server(
    folder: Path,
    facts: Iterable[Fact] = (),
    *,
    health_port: int | None = None,
    ledger_url: str | None = None,
    **serve: Any,
) -> Iterator[EmbeddedServer]:
    """While the block runs, a server answers that knows these facts."""
    server = EmbeddedServer(folder, serve, health_port=health_port, ledger_url=ledger_url)
    try:
        server.wait_ready()
        reported = tuple(facts)
        if reported:
            server.publish(*reported)
        yield server
    finally:
        server.end()
