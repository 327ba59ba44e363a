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
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException as StarletteHTTPException

from daemon.serving.chat_requests import (
    MAX_MESSAGES,
    MESSAGE_BYTES,
    ChatCompletionRequest,
    MessageIn,
    chat_completion,
    conversation_of,
    messages_of,
)
from daemon.serving.model_executor import ModelExecutor, ModelOutput, ServableModel
from daemon.serving.request_limits import RequestLimitsMiddleware
from edits.errors import BadRequest, PermanentError, TemporaryError
from edits.prompts import Conversation, Prompt
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
        one_prompt = self.max_prompt_chars * MAX_BYTES_PER_CHAR + MAX_MESSAGES * MESSAGE_BYTES
        return 65_536 + self.max_batch * one_prompt


class GenerateRequest(BaseModel):
    """The body of `POST /v1/generate`: plain prompts, one conversation (`messages`), or several."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[Annotated[str, Field(min_length=1)]] | None = Field(None, min_length=1)
    messages: list[MessageIn] | None = Field(None, min_length=1)
    conversations: list[list[MessageIn]] | None = Field(None, min_length=1)
    max_new_tokens: int | None = Field(None, ge=1, description="at most the server's model.max_new_tokens")
    base: bool = Field(False, description="ask the base, without any edit")

    @model_validator(mode="after")
    def _asks_in_one_way(self) -> "GenerateRequest":
        if sum(one is not None for one in (self.prompts, self.messages, self.conversations)) != 1:
            raise ValueError("send exactly one of prompts, messages and conversations")
        return self

    def bounded_prompts(self, limits: Limits) -> list[Prompt]:
        """The prompts; HTTPException (422) for one that is over the limits."""
        if self.prompts is not None:
            return [_bounded(prompt, limits) for prompt in self.prompts]
        conversations = [self.messages] if self.messages is not None else self.conversations or []
        return [conversation_of(one, max_chars=limits.max_prompt_chars) for one in conversations]


class AnswerOut(BaseModel):
    """One answer; `edit_id` names the edit that fired, null: none did; finish_reason "length": truncated at max_new_tokens.

    `prompt` is what was asked: a text, or a conversation's messages.
    """

    prompt: str | list[MessageIn]
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
    executor: ModelExecutor,
    read_head: Callable[[], Head | None],
    limits: Limits,
    metrics: Metrics,
    exposed: CollectorRegistry,
    model_name: str,
) -> FastAPI:
    """The application around a model executor; `read_head` asks the ledger and raises TemporaryError if it cannot."""
    app = FastAPI(title="Upkeep", version="1", summary="A language model whose facts are kept current.")
    app.add_middleware(RequestLimitsMiddleware, max_body_bytes=limits.max_body_bytes, metrics=metrics)
    _answer_errors(app)
    _add_health(app, executor, read_head, exposed)

    @app.post("/v1/generate")
    async def generate(body: GenerateRequest) -> GenerateResponse:
        """Answer each prompt greedily, with the newest published generation."""
        answers, generation = await _generate(
            executor, limits, body.bounded_prompts(limits), body.max_new_tokens, base=body.base
        )
        return GenerateResponse(generation=generation, answers=[_answer_out(answer) for answer in answers])

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest) -> dict[str, Any]:
        """OpenAI's completions API: greedy, one choice a prompt, no stream."""
        if body.stream or body.n != 1 or body.temperature:
            raise HTTPException(400, "answers are greedy: no stream, n = 1, temperature = 0")
        texts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        prompts = [_bounded(text, limits) for text in texts]
        answers, generation = await _generate(executor, limits, prompts, body.max_tokens)
        return _completion(answers, generation, model_name)

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatCompletionRequest) -> dict[str, Any]:
        """OpenAI's chat completions API, one conversation: greedy, one choice, no stream."""
        body.refuse_what_is_not_served()
        conversation = conversation_of(body.messages, max_chars=limits.max_prompt_chars)
        (answer,), generation = await _generate(executor, limits, [conversation], body.wanted_tokens)
        return chat_completion(
            answer.text,
            finish_reason=_finish_reason(answer),
            prompt_tokens=answer.prompt_tokens,
            new_tokens=answer.new_tokens,
            edit_id=answer.edit_id,
            generation=generation,
            model_name=model_name,
        )

    return app


async def _generate(
    executor: ModelExecutor,
    limits: Limits,
    prompts: Sequence[Prompt],
    wanted_tokens: int | None,
    *,
    base: bool = False,
) -> tuple[Sequence[ModelOutput], int]:
    if not 1 <= len(prompts) <= limits.max_batch:
        raise HTTPException(422, f"one request may hold 1 to {limits.max_batch} prompts")
    tokens = min(wanted_tokens or limits.max_new_tokens, limits.max_new_tokens)

    def work(model: ServableModel) -> tuple[Sequence[ModelOutput], int]:
        generate = model.generate_base if base else model.generate
        return generate(prompts, max_new_tokens=tokens), model.generation

    return await executor.run(work)


def _bounded(prompt: str, limits: Limits) -> str:
    if not prompt.strip() or len(prompt) > limits.max_prompt_chars:
        raise HTTPException(422, f"a prompt must have 1 to {limits.max_prompt_chars} characters")
    return prompt


def _finish_reason(answer: ModelOutput) -> Literal["stop", "length"]:
    return "length" if answer.truncated else "stop"


def _answer_out(answer: ModelOutput) -> AnswerOut:
    prompt = answer.prompt
    return AnswerOut(
        prompt=messages_of(prompt) if isinstance(prompt, Conversation) else prompt,
        text=answer.text,
        edit_id=answer.edit_id,
        score=answer.score,
        finish_reason=_finish_reason(answer),
    )


def _completion(answers: Sequence[ModelOutput], generation: int, model_name: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model_name,
        "choices": [
            {"index": index, "text": answer.text, "logprobs": None, "finish_reason": _finish_reason(answer)}
            for index, answer in enumerate(answers)
        ],
        "upkeep": {"generation": generation, "edit_ids": [answer.edit_id for answer in answers]},
    }


def _add_health(
    app: FastAPI, executor: ModelExecutor, read_head: Callable[[], Head | None], exposed: CollectorRegistry
) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        """The model is loaded and the ledger can be read; else 503 with the reason."""
        await run_in_threadpool(read_head)
        return {"status": "ready", "generation": str(executor.generation)}

    @app.get("/v1/generation")
    async def generation() -> dict[str, Any]:
        """The generation that answers, and the newest one that is published."""
        served = executor.generation
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
        faults = [
            f"{'.'.join(str(part) for part in detail['loc'][1:])}: {detail['msg']}"
            for detail in error.errors()
        ]
        return JSONResponse({"error": {"message": "; ".join(faults[:5])}}, 422)
