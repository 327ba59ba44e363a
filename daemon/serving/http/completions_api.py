"""OpenAI's endpoints over the edited model: chat completions, completions, models."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from daemon.openai_api.disconnects import unless_gone
from daemon.openai_api.errors import RequestRefused, model_not_found
from daemon.openai_api.responses import (
    ChatCompletion,
    Completion,
    ModelCard,
    ModelList,
)
from daemon.openai_api.schemas import ChatCompletionRequest, CompletionRequest, SamplingFields
from daemon.openai_api.sse import MEDIA_TYPE, EventStreamResponse
from daemon.serving.http.generate_api import ERRORS
from daemon.serving.http.limits import Limits
from daemon.serving.http.replies import (
    ChatChunks,
    CompletionChunks,
    ReplyForm,
    chat_completion,
    completion,
    events,
)
from daemon.serving.model_executor import ModelExecutor
from editors.inference.requests import SamplingParams, SequenceRequest, TokenPrompt
from edits.prompts import Prompt

COMPLETION_TOKENS = 16  # of a completion whose request names no limit, as OpenAI has it
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models")  # where errors have OpenAI's status codes


def add_completions(app: FastAPI, *, executor: ModelExecutor, limits: Limits, model_name: str) -> None:
    """Add the endpoints to the application."""
    started = int(time.time())

    @app.post(PATHS[0], response_model=None, responses=_replies(ChatCompletion))
    async def chat_completions(body: ChatCompletionRequest, request: Request) -> Response:
        """Answer a conversation, whole or streamed; the scope index decides which edit answers, if one does."""
        _check(body, model_name)
        limits.check_chars(sum(len(message.text) for message in body.messages), param="messages")
        wanted = limits.completion_tokens if body.wanted_tokens is None else body.wanted_tokens
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        params = _params(body, limits, wanted, logprobs=logprobs)
        sequences = _sequences([body.conversation()], body.choices_per_prompt, params, limits)
        return await _answer(executor, request, body, sequences, model_name, scored=bool(body.logprobs))

    @app.post(PATHS[1], response_model=None, responses=_replies(Completion))
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue texts or token ids, whole or streamed."""
        _check(body, model_name)
        for prompt in body.prompts:
            limits.check_chars(len(prompt), param="prompt")
        wanted = COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens
        echo, scored = bool(body.echo), body.logprobs is not None
        params = _params(body, limits, wanted, logprobs=body.logprobs, prompt_logprobs=echo)
        prompts = [one if isinstance(one, str) else tuple(one) for one in body.prompts]
        sequences = _sequences(prompts, body.choices_per_prompt, params, limits, echo=echo)
        return await _answer(executor, request, body, sequences, model_name, scored=scored, echo=echo)

    @app.get(PATHS[2], responses=ERRORS)
    async def models() -> ModelList:
        """The one model that is served."""
        return ModelList(data=[ModelCard(id=model_name, created=started)])

    @app.get(PATHS[2] + "/{model:path}", responses=ERRORS)
    async def model(model: str) -> ModelCard:
        """One model by its name."""
        if model != model_name:
            raise model_not_found(model, served=[model_name])
        return ModelCard(id=model_name, created=started)


async def _answer(
    executor: ModelExecutor,
    request: Request,
    body: ChatCompletionRequest | CompletionRequest,
    sequences: Sequence[SequenceRequest],
    model_name: str,
    *,
    scored: bool,
    echo: bool = False,
) -> Response:
    streamed = bool(body.stream)
    active = await unless_gone(request, executor.submit(sequences, streamed=streamed))
    form = ReplyForm(
        model_name,
        active.start,
        choices=body.choices_per_prompt,
        usage_chunk=body.wants_usage_chunk,
        scored=scored,
        echo=echo,
    )
    chat = isinstance(body, ChatCompletionRequest)
    if streamed:
        chunks = ChatChunks(form) if chat else CompletionChunks(form)
        return EventStreamResponse(events(active, form, chunks), form.headers, on_end=active.abandon)
    try:
        results = await unless_gone(request, active.results())
    finally:
        active.abandon()
    reply = chat_completion(form, results) if chat else completion(form, results)
    return Response(reply.model_dump_json(), headers=form.headers, media_type="application/json")


def _check(body: SamplingFields, model_name: str) -> None:
    if body.model is not None and body.model != model_name:
        raise model_not_found(body.model, served=[model_name])
    body.refuse_contradictions()


def _params(
    body: SamplingFields,
    limits: Limits,
    wanted_tokens: int,
    *,
    logprobs: int | None,
    prompt_logprobs: bool = False,
) -> SamplingParams:
    return SamplingParams(
        max_new_tokens=min(wanted_tokens, limits.completion_tokens),
        temperature=limits.default_temperature if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        stop=body.stops,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs and logprobs is not None,
    )


def _sequences(
    prompts: Sequence[Prompt | TokenPrompt],
    choices: int,
    params: SamplingParams,
    limits: Limits,
    *,
    echo: bool = False,
) -> list[SequenceRequest]:
    """Every choice of every prompt, the choices of one prompt beside each other."""
    if len(prompts) * choices > limits.max_batch:
        raise RequestRefused(
            f"one request may have {limits.max_batch} answers: {len(prompts)} prompts and n = {choices} are too many",
            param="prompt" if choices == 1 else "n",
        )
    return [
        SequenceRequest(prompt, replace(params, choice=choice), echo=echo)
        for prompt in prompts
        for choice in range(choices)
    ]


def _replies(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of an endpoint that streams where it is asked to."""
    stream = {MEDIA_TYPE: {"schema": {"type": "string"}}}
    return {
        200: {"model": model, "content": stream, "description": "the answers, or a stream of them"},
        **ERRORS,
    }
