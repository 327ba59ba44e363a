"""Requests are bounded, refused in time with a message, and counted."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message
from support.counting_model import LIMITS, Served, served
from support.waiting import eventually

from daemon.serving.http.request_limits import RequestLimitsMiddleware
from daemon.serving.model_executor import MAX_WAITING
from monitoring.metrics.process_metrics import Metrics

__all__ = ["served"]  # fixtures


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
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never  # the other half does not come

    async def send(message: Message) -> None:
        sent.append(message)

    metrics = Metrics(CollectorRegistry())
    limited = RequestLimitsMiddleware(application, max_body_bytes=1_024, metrics=metrics, body_seconds=0.05)
    asyncio.run(limited({"type": "http", "headers": []}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


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
