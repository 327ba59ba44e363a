"""The HTTP interface itself: what may be asked, what is answered, and how errors look.

Every error is one JSON object {"error": {"message": ...}}; a request is never repeated in it.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import structlog
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from daemon.serve_desk import FollowsHead, ModelDesk
from daemon.serve_guard import RequestGuard
from editors.errors import BadRequest, PermanentError, TemporaryError
from monitoring.metrics import Metrics

MAX_BYTES_PER_CHAR = 12  # a character outside the basic plane, escaped as JSON does it

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Head:
    """The newest published generation as the ledger knows it."""

    number: int
    base_hash: str
    created_at: str
    cause: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    max_batch: int
    max_prompt_chars: int
    max_new_tokens: int

    @property
    def max_body_bytes(self) -> int:
        """The largest body that can hold an allowed request."""
        return 65_536 + self.max_batch * self.max_prompt_chars * MAX_BYTES_PER_CHAR


class GenerateRequest(BaseModel):
    """Prompts for `POST /v1/generate`."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    max_new_tokens: int | None = Field(None, ge=1, description="at most the server's model.max_new_tokens")
    base: bool = Field(False, description="ask the base, without any edit")


class AnswerOut(BaseModel):
    """One answer; `edit_id` names the edit that spoke, null means the base; "length": the limit of tokens cut it."""

    prompt: str
    text: str
    edit_id: str | None
    score: float | None
    finish_reason: Literal["stop", "length"]


class GenerateResponse(BaseModel):
    """All answers of one request: of one generation."""

    generation: int
    answers: list[AnswerOut]


class CompletionRequest(BaseModel):
    """`POST /v1/completions` as OpenAI clients send it; unknown fields are ignored."""

    prompt: str | list[str]
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = None
    stream: bool = False
    n: int = 1


def create_app(
    *,
    desk: ModelDesk,
    read_head: Callable[[], Head | None],
    limits: Limits,
    metrics: Metrics,
    exposed: CollectorRegistry,
    model_name: str,
) -> FastAPI:
    """The application around a desk; `read_head` asks the ledger and raises TemporaryError if it cannot."""
    app = FastAPI(title="Upkeep", version="1", summary="A language model whose facts are kept current.")
    app.add_middleware(RequestGuard, max_body_bytes=limits.max_body_bytes, metrics=metrics)
    _answer_errors(app)
    _add_health(app, desk, read_head, exposed)

    @app.post("/v1/generate")
    async def generate(asked: GenerateRequest) -> GenerateResponse:
        """Answer each prompt greedily, with the newest published generation."""
        answers, generation = await _ask(desk, limits, asked.prompts, asked.max_new_tokens, base=asked.base)
        return GenerateResponse(generation=generation, answers=answers)

    @app.post("/v1/completions")
    async def completions(asked: CompletionRequest) -> dict[str, Any]:
        """The same for clients that speak OpenAI's completions: greedy, one choice a prompt, no stream."""
        if asked.stream or asked.n != 1 or asked.temperature:
            raise HTTPException(400, "answers are greedy: no stream, n = 1, temperature = 0")
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        answers, generation = await _ask(desk, limits, prompts, asked.max_tokens)
        return _completion(answers, generation, model_name)

    return app


async def _ask(
    desk: ModelDesk, limits: Limits, prompts: Sequence[str], wanted_tokens: int | None, *, base: bool = False
) -> tuple[list[AnswerOut], int]:
    if not 1 <= len(prompts) <= limits.max_batch:
        raise HTTPException(422, f"one request may hold 1 to {limits.max_batch} prompts")
    for prompt in prompts:
        if not prompt.strip() or len(prompt) > limits.max_prompt_chars:
            raise HTTPException(422, f"a prompt must have 1 to {limits.max_prompt_chars} characters")
    tokens = min(wanted_tokens or limits.max_new_tokens, limits.max_new_tokens)

    def work(model: FollowsHead) -> tuple[list[AnswerOut], int]:
        speak = model.generate_base if base else model.generate
        answers = speak(prompts, max_new_tokens=tokens)
        return [
            AnswerOut(
                prompt=answer.prompt,
                text=answer.text,
                edit_id=answer.edit_id,
                score=answer.score,
                finish_reason="length" if answer.cut else "stop",
            )
            for answer in answers
        ], model.generation

    return await desk.use(work)


def _completion(answers: Sequence[AnswerOut], generation: int, model_name: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model_name,
        "choices": [
            {"index": index, "text": answer.text, "logprobs": None, "finish_reason": answer.finish_reason}
            for index, answer in enumerate(answers)
        ],
        "upkeep": {"generation": generation, "edit_ids": [answer.edit_id for answer in answers]},
    }


def _add_health(
    app: FastAPI, desk: ModelDesk, read_head: Callable[[], Head | None], exposed: CollectorRegistry
) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        """The model is loaded and the ledger can be read; else 503 with the reason."""
        await run_in_threadpool(read_head)
        return {"status": "ready", "generation": str(desk.generation)}

    @app.get("/v1/generation")
    async def generation() -> dict[str, Any]:
        """The generation that answers, and the newest one that is published."""
        served = desk.generation
        head = await run_in_threadpool(read_head)
        return {
            "generation": served,
            "head": None if head is None else head.number,
            "base_hash": None if head is None else head.base_hash,
            "published_at": None if head is None else head.created_at,
            "cause": None if head is None else head.cause,
        }

    @app.get("/metrics")
    def metrics() -> Response:
        """Prometheus metrics: of all roles under `upkeep run`, else of this process."""
        return Response(generate_latest(exposed), media_type=CONTENT_TYPE_LATEST)


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(TemporaryError)
    async def busy(_request: Request, error: TemporaryError) -> JSONResponse:
        seconds = str(max(1, round(error.retry_after_seconds)))
        return JSONResponse({"error": {"message": str(error)}}, 503, headers={"Retry-After": seconds})

    @app.exception_handler(BadRequest)
    async def unreadable(_request: Request, error: BadRequest) -> JSONResponse:
        return JSONResponse({"error": {"message": str(error)}}, 422)

    @app.exception_handler(PermanentError)
    async def broken(_request: Request, error: PermanentError) -> JSONResponse:
        _log.error("request failed", reason=str(error))
        return JSONResponse({"error": {"message": str(error)}}, 500)

    @app.exception_handler(StarletteHTTPException)
    async def refused(_request: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": {"message": error.detail}}, error.status_code)

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        told = [
            f"{'.'.join(str(part) for part in detail['loc'][1:])}: {detail['msg']}"
            for detail in error.errors()
        ]
        return JSONResponse({"error": {"message": "; ".join(told[:5])}}, 422)
