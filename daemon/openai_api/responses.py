"""The replies of OpenAI's API, whole and in chunks; `upkeep` beside them says which generation and which edit answered."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

FinishReason = Literal["stop", "length"]


class ResponseModel(BaseModel):
    """A JSON object that goes out."""

    model_config = ConfigDict(protected_namespaces=())


class Usage(ResponseModel):
    """Tokens read and generated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt_tokens: int, completion_tokens: int) -> "Usage":
        """With the sum of both."""
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
        )


class Provenance(ResponseModel):
    """Where an answer comes from: one generation, and for each choice the edit that fired (null: none did)."""

    generation: int
    edit_ids: list[str | None]


class TokenLogprob(ResponseModel):
    """A token and its natural log-probability; `bytes` are those of its text."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class ChosenTokenLogprob(TokenLogprob):
    """A token of the answer, and those that were likeliest in its place."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(ResponseModel):
    """Log-probabilities of a chat answer."""

    content: list[ChosenTokenLogprob]


class CompletionLogprobs(ResponseModel):
    """Log-probabilities of a completion, as parallel lists; the first token of an echoed prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class AssistantMessage(ResponseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(ResponseModel):
    """One answer to a conversation."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class Delta(ResponseModel):
    """What a chunk adds to a message; what is not set is left out."""

    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer(mode="wrap")
    def _without_null(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class ChatChunkChoice(ResponseModel):
    """One choice's part of a chunk."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class CompletionChoice(ResponseModel):
    """One continuation of a prompt."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason


class CompletionChunkChoice(ResponseModel):
    """One choice's part of a chunk."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class Reply(ResponseModel):
    """What all replies and chunks have; `system_fingerprint` changes with the generation."""

    id: str
    created: int
    model: str
    system_fingerprint: str | None = None


class ChatCompletion(Reply):
    """The reply of `POST /v1/chat/completions`."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]
    usage: Usage
    upkeep: Provenance


class ChatCompletionChunk(Reply):
    """One event of its stream; `upkeep` stands in the first, `usage` where it was asked for."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    upkeep: Provenance | None = None


class Completion(Reply):
    """The reply of `POST /v1/completions`."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]
    usage: Usage
    upkeep: Provenance


class CompletionChunk(Reply):
    """One event of its stream."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChunkChoice]
    usage: Usage | None = None
    upkeep: Provenance | None = None


class ModelCard(ResponseModel):
    """One model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "upkeep"


class ModelList(ResponseModel):
    """The reply of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
