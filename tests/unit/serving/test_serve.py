"""The HTTP interface: one generation an answer, bounded requests, and honest health."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.types import Message
from support.waiting import eventually

from daemon.serving import serve_role
from daemon.serving.http.api import Head, Limits, create_app
from daemon.serving.http.request_limits import RequestLimitsMiddleware
from daemon.serving.model_executor import MAX_WAITING, ModelExecutor
from daemon.settings.http_tables import ServeSettings
from daemon.settings.settings import Settings
from daemon.settings.tables import LedgerSettings, ModelSettings
from editors.inference.requests import FinishReason, SequenceRequest, SequenceResult, TextDelta
from edits.errors import BadRequest, TemporaryError
from monitoring.metrics.process_metrics import Metrics

LIMITS = Limits(max_batch=4, max_prompt_chars=100, max_new_tokens=8)


@dataclass
class Scripted:
    """An answer that is there after one step: the generation at which it began."""

    request: SequenceRequest
    generation: int
    edit_id: str | None = None
    prompt_tokens: int = 1
    finish_reason: FinishReason | None = None

    @property
    def result(self) -> SequenceResult:
        assert self.finish_reason is not None
        text = "base" if self.request.base else f"edited {self.generation}"
        score = None if self.request.base else 0.9
        return SequenceResult(text, self.edit_id, score, self.finish_reason, prompt_tokens=1, new_tokens=1)

    def delta(self) -> TextDelta:
        return TextDelta(self.result.text, finish_reason=self.finish_reason, new_tokens=1)


class CountingModel:
    """Answers with the generation it stands at; a new one appears when the test publishes it."""

    def __init__(self) -> None:
        self.generation = 0
        self.published = 0
        self.unserved: list[str] = []
        self.tokens: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.may_step = threading.Event()
        self.may_step.set()
        self._rows: list[Scripted] = []

    @property
    def batch(self) -> "CountingModel":
        return self

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def has_room(self) -> bool:
        return True

    def news(self) -> int | None:
        return None if self.generation == self.published else self.published

    def take_over(self, news: int) -> None:
        self.generation = news

    def prepare(self, requests: Sequence[SequenceRequest]) -> list[Scripted]:
        if any(request.prompt == "too long" for request in requests):
            raise BadRequest("the prompt has 900 tokens, the base reads at most 192: shorten it")
        return [Scripted(request, self.generation) for request in requests]

    def start(self, sequences: Sequence[Scripted]) -> None:
        assert self.go_on.wait(20)
        for one in sequences:
            one.edit_id = None if one.request.base else "7"
            self.tokens.append(one.request.params.max_new_tokens)
        self._rows += sequences

    def step(self) -> list[Scripted]:
        assert self.may_step.wait(20)
        done, self._rows = self._rows, []
        for one in done:
            one.finish_reason = "stop" if one.request.base else "length"
        return done

    def remove(self, sequences: Sequence[Scripted]) -> None:
        self._rows = [one for one in self._rows if one not in sequences]

    def clear(self) -> None:
        self._rows = []


class Served:
    """The application around a counting model and a ledger that can be taken away."""

    def __init__(self, *, loaded: bool = True) -> None:
        self.model = CountingModel()
        self.executor = ModelExecutor()
        self.ledger_is_away = False
        registry = CollectorRegistry()
        if loaded:
            self.executor.load(lambda: self.model)
        app = create_app(
            executor=self.executor,
            read_head=self._head,
            limits=LIMITS,
            metrics=Metrics(registry),
            exposed=registry,
            model_name="tiny",
        )
        self.client = TestClient(app)

    def _head(self) -> Head:
        if self.ledger_is_away:
            raise TemporaryError("the ledger is locked")
        return Head(self.model.published, "abc", "2026-05-01T00:00:00+00:00", "batch 3")


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.executor.close()


def test_an_answer_names_its_generation_and_the_edit_that_spoke(served: Served) -> None:
    reply = served.client.post("/v1/generate", json={"prompts": ["The capital of France is"]})

    assert reply.json() == {
        "generation": 0,
        "answers": [
            {
                "prompt": "The capital of France is",
                "text": "edited 0",
                "edit_id": "7",
                "score": 0.9,
                "finish_reason": "length",
            }
        ],
    }


def test_a_published_generation_is_taken_over_between_requests(served: Served) -> None:
    served.model.published = 5

    assert served.executor.refresh()

    reply = served.client.post("/v1/generate", json={"prompts": ["a", "b"]}).json()
    assert (reply["generation"], reply["answers"][1]["text"]) == (5, "edited 5")
    assert not served.executor.refresh()


def test_the_base_can_be_asked_beside_it(served: Served) -> None:
    reply = served.client.post("/v1/generate", json={"prompts": ["a"], "base": True}).json()

    assert reply["answers"][0]["text"] == "base"
    assert reply["answers"][0]["finish_reason"] == "stop"
    assert reply["answers"][0]["edit_id"] is None


def test_openai_clients_get_a_completion(served: Served) -> None:
    reply = served.client.post(
        "/v1/completions",
        json={"model": "tiny", "prompt": "a", "max_tokens": 999, "temperature": 0, "top_p": 1},
    ).json()

    assert reply["object"] == "text_completion"
    assert reply["choices"] == [{"index": 0, "text": "edited 0", "logprobs": None, "finish_reason": "length"}]
    assert reply["upkeep"] == {"generation": 0, "edit_ids": ["7"]}
    assert served.model.tokens == [LIMITS.max_new_tokens]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/generate", b"{", 422),
        ("/v1/generate", b"[" * 60_000, 400),
        ("/v1/generate", b'{"prompts": []}', 422),
        ("/v1/generate", b'{"prompts": ["a"], "sampling": 1}', 422),
        ("/v1/generate", b'{"prompts": ["\\ud800"]}', 422),
        ("/v1/generate", b'{"prompts": ["  "]}', 422),
        ("/v1/generate", json.dumps({"prompts": ["a" * 101]}).encode(), 422),
        ("/v1/generate", json.dumps({"prompts": ["a"] * 5}).encode(), 422),
        ("/v1/generate", b" " * (LIMITS.max_body_bytes + 1), 413),
        ("/v1/generate", b'{"prompts": ["a", "too long"]}', 422),
        ("/v1/completions", b'{"prompt": "a", "suffix": "b"}', 400),
        ("/v1/completions", b'{"prompt": "a", "temperature": 2.7}', 400),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused_with_a_message(
    served: Served, path: str, body: bytes, status: int
) -> None:
    reply = served.client.post(path, content=body, headers={"content-type": "application/json"})

    assert reply.status_code == status
    assert reply.json()["error"]["message"]
    assert served.model.tokens == []


def test_a_body_without_a_length_is_bounded_too(served: Served) -> None:
    reply = served.client.post("/v1/generate", content=(b" " * 65_536 for _ in range(40)))

    assert reply.status_code == 413


def test_a_half_sent_body_is_refused_in_time_and_the_connection_closed() -> None:
    sent: list[Message] = []
    came = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def application(*_: object) -> None:
        raise AssertionError("half a body is no request")

    async def receive() -> Message:
        for message in came:
            return message
        return await asyncio.get_running_loop().create_future()  # the other half never comes

    async def send(message: Message) -> None:
        sent.append(message)

    metrics = Metrics(CollectorRegistry())
    limited = RequestLimitsMiddleware(application, max_body_bytes=1_024, metrics=metrics, body_seconds=0.05)
    asyncio.run(limited({"type": "http", "headers": []}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_alive_is_not_ready() -> None:
    served = Served(loaded=False)

    assert served.client.get("/healthz").status_code == 200
    assert served.client.get("/readyz").status_code == 503
    assert served.client.post("/v1/generate", json={"prompts": ["a"]}).status_code == 503

    served.executor.load(lambda: served.model)
    assert served.client.get("/readyz").json() == {"status": "ready", "generation": "0"}
    served.executor.close()


def test_not_ready_while_the_ledger_is_away_but_still_answering(served: Served) -> None:
    served.ledger_is_away = True

    ready = served.client.get("/readyz")

    assert (ready.status_code, ready.json()["error"]["message"]) == (503, "the ledger is locked")
    assert served.client.post("/v1/generate", json={"prompts": ["a"]}).status_code == 200


def test_the_request_that_finds_the_queue_full_is_told_to_come_back(served: Served) -> None:
    served.model.go_on.clear()

    def ask() -> int:
        return served.client.post("/v1/generate", json={"prompts": ["a"]}).status_code

    with served.client, ThreadPoolExecutor(MAX_WAITING + 1) as clients:
        asked = [clients.submit(ask) for _ in range(MAX_WAITING + 1)]
        first = next(as_completed(asked, timeout=20)).result()
        served.model.go_on.set()
        statuses = sorted(future.result() for future in asked)

    assert first == 503
    assert statuses == [200] * MAX_WAITING + [503]


def test_null_is_as_leaving_a_field_out(served: Served) -> None:
    fields = dict.fromkeys(("base", "max_new_tokens", "messages", "conversations"))
    reply = served.client.post("/v1/generate", json={"prompts": ["a"], **fields})
    assert reply.status_code == 200
    assert reply.json() == served.client.post("/v1/generate", json={"prompts": ["a"]}).json()


def test_generation_tells_what_is_served_and_what_is_published(served: Served) -> None:
    served.model.published = 2

    reply = served.client.get("/v1/generation").json()

    assert (reply["generation"], reply["head"], reply["cause"]) == (0, 2, "batch 3")


def test_metrics_tell_how_many_answers_are_in_hand_and_how_many_requests_wait(served: Served) -> None:
    def figures() -> list[float]:
        lines = served.client.get("/metrics").text.splitlines()
        names = ("upkeep_serve_rows ", "upkeep_serve_waiting_requests ")
        return [float(line.split()[1]) for name in names for line in lines if line.startswith(name)]

    assert figures() == [0, 0]
    served.model.go_on.clear()
    with ThreadPoolExecutor(3) as clients:
        asked = [
            clients.submit(served.client.post, "/v1/generate", json={"prompts": ["a"]}) for _ in range(3)
        ]
        try:
            eventually(lambda: figures() == [0, 3])
            served.model.may_step.clear()
        finally:
            served.model.go_on.set()
        try:
            eventually(lambda: figures()[0] >= 1)
        finally:
            served.model.may_step.set()
        assert {one.result().status_code for one in asked} == {200}
    assert figures() == [0, 0]


def test_requests_are_counted_by_route_and_never_by_what_clients_invent(served: Served) -> None:
    served.client.post("/v1/generate", json={"prompts": ["a"]})
    lost = served.client.get("/no/such/path")

    text = served.client.get("/metrics").text

    assert 'upkeep_serve_requests_total{route="/v1/generate",status="200"} 1.0' in text
    assert 'upkeep_serve_requests_total{route="other",status="404"} 1.0' in text
    assert "/no/such/path" not in text
    assert lost.json() == {
        "error": {"message": "Not Found", "type": "invalid_request_error", "param": None, "code": None}
    }


@pytest.fixture
def role(tmp_path: Path) -> Iterator["RunningRole"]:
    """The whole role on a real socket and a real ledger; only the model is the counting one."""
    running = RunningRole(tmp_path)
    yield running
    running.end()


class RunningRole:
    """`daemon.serving.serve_role.run` in a thread, and a client for it."""

    def __init__(self, folder: Path) -> None:
        self.model = CountingModel()
        self.may_load = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.settings = Settings(
            model=ModelSettings(path="tiny"),
            ledger=LedgerSettings(url=f"sqlite:///{folder}/ledger.db"),
            serve=ServeSettings(port=self.port),
        )
        self.stop = threading.Event()
        self._thread = threading.Thread(
            target=serve_role.run,
            args=(self.settings, self.stop),
            kwargs={"open_model": self._open_model, "follow_seconds": 0.02},
        )
        self._thread.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        self.wait_for("/healthz", lambda reply: reply.status_code == 200)

    def _open_model(self, _settings: object, _ledger: object) -> CountingModel:
        assert self.may_load.wait(20)
        return self.model

    def wait_for(self, path: str, wanted: Callable[[httpx.Response], bool]) -> httpx.Response:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.ConnectError):
                reply = self.client.get(path)
                if wanted(reply):
                    return reply
            time.sleep(0.02)
        raise AssertionError(f"waited too long for {path}")

    def end(self) -> None:
        self.may_load.set()
        self.stop.set()
        self._thread.join(20)
        self.client.close()
        assert not self._thread.is_alive()


def test_the_role_is_alive_at_once_ready_when_loaded_and_follows_the_head(role: RunningRole) -> None:
    assert role.client.get("/readyz").status_code == 503

    role.may_load.set()
    role.wait_for("/readyz", lambda reply: reply.status_code == 200)
    assert "upkeep_ledger_up 1.0" in role.client.get("/metrics").text

    role.model.published = 4
    role.wait_for("/v1/generation", lambda reply: reply.json()["generation"] == 4)
    assert role.client.post("/v1/generate", json={"prompts": ["a"]}).json()["generation"] == 4


def test_a_taken_port_is_told_before_the_model_is_loaded(role: RunningRole) -> None:
    with pytest.raises(TemporaryError, match=f"cannot listen on 127.0.0.1:{role.port}"):
        serve_role.run(role.settings, threading.Event())
