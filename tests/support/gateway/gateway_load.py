"""Clients that ask a gateway without a pause while generations change under them, and what each answer was of."""

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from support.gateway.gateway_support import Facts, RunningGateway
from support.waiting import eventually

from daemon.gateway.edits import PREFIX
from edits.judging import contains


@dataclass(frozen=True)
class Seen:
    """One answer.

    Attributes:
        subject: that was asked.
        models: that the body names, each once; more than one would be an answer of mixed generations.
    """

    subject: str
    streamed: bool
    generation: int
    edit: str | None
    models: frozenset[str]
    text: str


class Load:
    """Clients of their own threads, each with every other request streamed."""

    def __init__(self, url: str, bodies: Mapping[str, Mapping[str, Any]], *, clients: int) -> None:
        """
        Args:
            url: with the path.
            bodies: the request by subject.
        """
        self._url = url
        self._bodies = list(bodies.items())
        self._stop = threading.Event()
        self.seen: list[Seen] = []
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """While the block runs, the clients ask; afterwards all answers are there."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(120)

    def wait_for(self, more: int, *, seconds: float = 120) -> None:
        """Until so many further requests have ended."""
        before = self._count()
        eventually(lambda: self._count() >= before + more, f"{more} more answers", seconds=seconds)

    def _count(self) -> int:
        return len(self.seen) + len(self.errors)

    def _ask(self, number: int) -> None:
        with httpx.Client(timeout=120) as client:
            for turn in itertools.count(number):
                if self._stop.is_set():
                    return
                subject, body = self._bodies[turn % len(self._bodies)]
                streamed = (turn // len(self._bodies)) % 2 == 0
                try:
                    self.seen.append(self._answer(client, subject, {**body, "stream": streamed}))
                except (httpx.HTTPError, AssertionError, ValueError, KeyError) as error:
                    self.errors.append(f"{subject}: {error!r}")

    def _answer(self, client: httpx.Client, subject: str, body: Mapping[str, Any]) -> Seen:
        reply = client.post(self._url, json=body)
        assert reply.status_code == 200, reply.text[:300]
        documents = _events(reply.text) if body["stream"] else [reply.json()]
        choices = [choice for document in documents for choice in document.get("choices", ())]
        return Seen(
            subject,
            body["stream"],
            int(reply.headers["x-upkeep-generation"]),
            reply.headers.get("x-upkeep-edit"),
            frozenset(document["model"] for document in documents),
            "".join(_text(choice) for choice in choices),
        )


def change_generations(facts: Facts, front: RunningGateway, load: Load, *, more: int) -> Callable[[int], int]:
    """What makes a generation the head again, and returns when so `more` requests have ended under it."""

    def change(target: int) -> int:
        number = facts.ledger.generations.rollback_to(target, cause="test").number
        front.wait_generation(number)
        load.wait_for(more)
        return number

    return change


def wrong_answers(
    load: Load,
    facts: Facts,
    edits: Mapping[str, Sequence[str]],
    *,
    base: str,
    outputs: Mapping[str, str] = {},
) -> list[Seen]:
    """Answers that are not what their own generation must give: another edit, another model, or more than one.

    Args:
        edits: a subject's edits of all times.
        base: the base's name at the engine.
        outputs: by edit, what its answer must state; no answer of the base may state any of its subject's.
    """
    live = {
        number: facts.ledger.generations.live_at(number) for number in {one.generation for one in load.seen}
    }

    def is_right(one: Seen) -> bool:
        fired = [edit for edit in edits[one.subject] if edit in live[one.generation]]
        if not fired:
            silent = not any(
                contains(one.text, outputs[edit]) for edit in edits[one.subject] if edit in outputs
            )
            return one.edit is None and one.models == {base} and silent
        (edit,) = fired
        model = f"{PREFIX}{edit}-{live[one.generation][edit][:12]}"
        stated = edit not in outputs or contains(one.text, outputs[edit])
        return one.edit == edit and one.models == {model} and stated

    return [one for one in load.seen if not is_right(one)]


@contextmanager
def slow_client(url: str, path: str, body: Mapping[str, Any]) -> Iterator[socket.socket]:
    """A stream is asked for and not read; the socket takes little in by itself."""
    asked = httpx.Request("POST", f"{url}{path}", json=body, headers={"connection": "close"})
    head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.settimeout(120)
        client.connect((asked.url.host, asked.url.port))
        client.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + asked.content)
        yield client


def settled(value: Callable[[], int], *, for_seconds: float = 1.0, seconds: float = 120) -> int:
    """A value when it is above zero and has not changed for a while."""
    deadline = time.monotonic() + seconds
    seen, since = value(), time.monotonic()
    while not seen or time.monotonic() - since < for_seconds:
        assert time.monotonic() < deadline, f"it does not come to rest, it is {seen}"
        time.sleep(0.05)
        if (now := value()) != seen:
            seen, since = now, time.monotonic()
    return seen


def _events(text: str) -> list[dict[str, Any]]:
    """The documents of a stream, which must have come to its end."""
    lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    assert lines, text
    assert lines[-1] == "[DONE]", text[-200:]
    return [json.loads(line) for line in lines[:-1]]


def _text(choice: Mapping[str, Any]) -> str:
    part = choice.get("delta") or choice.get("message") or {}
    return str(part.get("content") or choice.get("text") or "")
