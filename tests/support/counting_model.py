"""The HTTP interface over a model that answers with the generation at which it stands."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from daemon.serving.http.api import Head, Limits, create_app
from daemon.serving.model_executor import ModelExecutor
from editors.inference.requests import FinishReason, SequenceRequest, SequenceResult, TextDelta
from editors.routing.trace import RouteTrace
from edits.errors import BadRequest, TemporaryError
from edits.prompts import Prompt
from monitoring.checks.regression import Answered
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

    def explain(self, prompt: Prompt) -> RouteTrace:
        raise NotImplementedError

    def at(self, generation: int) -> AbstractContextManager[None]:
        raise NotImplementedError

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Answered]:
        raise NotImplementedError

    def generate_base(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Answered]:
        raise NotImplementedError


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
