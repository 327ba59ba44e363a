"""Upkeep's own endpoint: greedy answers as the library gives them and the daemon's checks read them, with edit and score."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field, model_validator

from daemon.openai_api.disconnects import unless_gone
from daemon.openai_api.errors import ErrorBody
from daemon.openai_api.schemas import MAX_MESSAGES, WireModel
from daemon.serving.http.limits import Limits
from daemon.serving.model_executor import ModelExecutor
from editors.inference.requests import SamplingParams, SequenceRequest, SequenceResult
from edits.prompts import Conversation, Message, Prompt, Role

PATH = "/v1/generate"
ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}


class MessageIn(WireModel):
    """One turn of a conversation, as the client sends it."""

    role: Role
    content: str


class GenerateRequest(WireModel):
    """The body of `POST /v1/generate`: plain prompts, one conversation (`messages`), or several."""

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
        """The prompts; HTTPException (422) where they are over the limits."""
        if self.prompts is not None:
            found: list[Prompt] = [bounded_prompt(prompt, limits) for prompt in self.prompts]
        else:
            conversations = [self.messages] if self.messages is not None else self.conversations or []
            found = [bounded_conversation(one, max_chars=limits.max_prompt_chars) for one in conversations]
        if not 1 <= len(found) <= limits.max_batch:
            raise HTTPException(422, f"one request may hold 1 to {limits.max_batch} prompts")
        return found


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


def add_generate(app: FastAPI, *, executor: ModelExecutor, limits: Limits) -> None:
    """Add the endpoint to the application."""

    @app.post(PATH, responses=ERRORS)
    async def generate(body: GenerateRequest, request: Request) -> GenerateResponse:
        """Answer each prompt greedily, with the newest published generation."""
        prompts = body.bounded_prompts(limits)
        tokens = min(body.max_new_tokens or limits.max_new_tokens, limits.max_new_tokens)
        sequences = [
            SequenceRequest(prompt, SamplingParams(tokens), base=body.base, stripped=True)
            for prompt in prompts
        ]
        active = await unless_gone(request, executor.submit(sequences))
        try:
            results = await unless_gone(request, active.results())
        finally:
            active.abandon()
        answers = [_answer_out(prompt, result) for prompt, result in zip(prompts, results, strict=True)]
        return GenerateResponse(generation=active.start.generation, answers=answers)


def bounded_prompt(prompt: str, limits: Limits) -> str:
    """A plain prompt; HTTPException (422) where it is over the limits."""
    if not prompt.strip() or len(prompt) > limits.max_prompt_chars:
        raise HTTPException(422, f"a prompt must have 1 to {limits.max_prompt_chars} characters")
    return prompt


def bounded_conversation(messages: Sequence[MessageIn], *, max_chars: int) -> Conversation:
    """A conversation; HTTPException (422) where it is over the limits, or does not end with the user."""
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise HTTPException(422, f"a conversation may have 1 to {MAX_MESSAGES} messages")
    if sum(len(message.content) for message in messages) > max_chars:
        raise HTTPException(422, f"the messages of a conversation may have {max_chars} characters together")
    if messages[-1].role != "user" or not messages[-1].content.strip():
        raise HTTPException(422, "the last message must be the user's, and say something")
    return Conversation(tuple(Message(message.role, message.content) for message in messages))


def _answer_out(prompt: Prompt, result: SequenceResult) -> AnswerOut:
    return AnswerOut(
        prompt=prompt if isinstance(prompt, str) else _messages_of(prompt),
        text=result.text,
        edit_id=result.edit_id,
        score=result.score,
        finish_reason=result.finish_reason,
    )


def _messages_of(conversation: Conversation) -> list[MessageIn]:
    return [MessageIn(role=message.role, content=message.content) for message in conversation.messages]
