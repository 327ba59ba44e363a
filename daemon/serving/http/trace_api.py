"""Upkeep's own endpoint that says why an edit fires on a prompt, or none does."""

from fastapi import FastAPI, Request

from daemon.openai_api.disconnects import unless_gone
from daemon.openai_api.trace import PATH, TraceRequest, TraceResponse, trace_response
from daemon.serving.http.generate_api import ERRORS, MessageIn, bounded_conversation, bounded_prompt
from daemon.serving.http.limits import Limits
from daemon.serving.model_executor import ModelExecutor
from edits.prompts import Prompt


def add_trace(app: FastAPI, *, executor: ModelExecutor, limits: Limits) -> None:
    """Add the endpoint to the application."""

    @app.post(PATH, responses=ERRORS)
    async def trace(body: TraceRequest, request: Request) -> TraceResponse:
        """Say why an edit fires on a prompt, or none does; nothing is generated."""
        found = await unless_gone(request, executor.explain(_bounded(body, limits)))
        return trace_response(*found)


def _bounded(body: TraceRequest, limits: Limits) -> Prompt:
    if body.prompt is not None:
        return bounded_prompt(body.prompt, limits)
    messages = [MessageIn(role=one.role, content=one.content) for one in body.messages or ()]
    return bounded_conversation(messages, max_chars=limits.max_prompt_chars)
