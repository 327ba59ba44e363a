"""The requests of OpenAI's API: a field that stands here is served, every other one is refused by name.

`null` for a field that may be left out is as leaving it out. Fields that name a feature which is not served are taken
with the value that means "not used", because clients send them so.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from daemon.events.strict_json import without_nulls
from daemon.openai_api.errors import RequestRefused
from edits.prompts import Conversation, Message

MAX_MESSAGES = 256  # of one conversation
MAX_STOPS = 4
MAX_STOP_CHARS = 256
MAX_TOP_LOGPROBS = 20  # chat
MAX_LOGPROBS = 5  # completions
MAX_SEED = 2**63 - 1
MAX_TOKENS = 1 << 31

Probability = Annotated[float, Field(gt=0.0, le=1.0)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
Stop: TypeAlias = StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]
Zero = Annotated[float, Field(ge=0.0, le=0.0)]


class WireModel(BaseModel):
    """A JSON object from outside: closed to unknown fields, strict about types, `null` read as absent."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return without_nulls(value)


class TextPart(WireModel):
    """A part of a message's content; images and sound are not read."""

    type: Literal["text"]
    text: str


class ChatMessage(WireModel):
    """One turn of a conversation; `developer` is the newer name of `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The content in one piece."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)

    def message(self) -> Message:
        """The turn as the model is asked."""
        return Message("system" if self.role == "developer" else self.role, self.text)


class StreamOptions(WireModel):
    """What a stream carries beside its chunks."""

    include_usage: bool | None = Field(None, description="a last chunk with the usage of the whole request")


class TextFormat(WireModel):
    """`response_format`: plain text alone."""

    type: Literal["text"]


class SamplingFields(WireModel):
    """What both kinds of completion take."""

    model: str | None = Field(None, max_length=1_024, description="absent: the model that is served")
    max_tokens: int | None = Field(None, ge=0, le=MAX_TOKENS)
    temperature: Temperature | None = Field(
        None, description="absent: serve.default_temperature, 0 unless set"
    )
    top_p: Probability | None = None
    seed: int | None = Field(None, ge=-MAX_SEED - 1, le=MAX_SEED)
    stop: Stop | None = None
    n: int | None = Field(None, ge=1, le=128)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, max_length=1_024, description="has no effect on the answer")
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def choices_per_prompt(self) -> int:
        return self.n or 1

    @property
    def wants_usage_chunk(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def refuse_contradictions(self) -> None:
        """
        Raises:
            RequestRefused: fields that each are right make no sense together.
        """
        if self.stream_options is not None and not self.stream:
            raise RequestRefused("stream_options needs stream = true", param="stream_options")


class ChatCompletionRequest(SamplingFields):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: int | None = Field(
        None, ge=1, le=MAX_TOKENS, description="the newer name of max_tokens"
    )
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    response_format: TextFormat | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=0)] | None = None
    tool_choice: Literal["none"] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None

    @property
    def wanted_tokens(self) -> int | None:
        """The longest answer that the client wants; None: as long as the server allows."""
        given = [n for n in (self.max_tokens, self.max_completion_tokens) if n is not None]
        return min(given, default=None)

    def refuse_contradictions(self) -> None:
        super().refuse_contradictions()
        if self.max_tokens == 0:
            raise RequestRefused("max_tokens must be at least 1", param="max_tokens")
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestRefused("top_logprobs needs logprobs = true", param="top_logprobs")

    def conversation(self) -> Conversation:
        """The conversation that the messages are.

        Raises:
            RequestRefused: nothing is asked last.
        """
        last = self.messages[-1]
        if last.role != "user" or not last.text.strip():
            raise RequestRefused("the last message must be the user's, and say something", param="messages")
        return Conversation(tuple(message.message() for message in self.messages))


class CompletionRequest(SamplingFields):
    """The body of `POST /v1/completions`: a text, texts, token ids, or several lists of them."""

    prompt: (
        str
        | TokenIds
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[TokenIds], Field(min_length=1)]
    )
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    echo: bool | None = Field(None, description="the prompt in front of the answer")
    best_of: int | None = Field(None, ge=1, le=1)
    suffix: Annotated[str, Field(max_length=0)] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt by itself."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [one for one in self.prompt if not isinstance(one, int)]

    def refuse_contradictions(self) -> None:
        super().refuse_contradictions()
        if self.max_tokens == 0 and not self.echo:
            raise RequestRefused(
                "max_tokens = 0 needs echo = true: nothing else would be answered", param="max_tokens"
            )
        if self.best_of is not None and self.choices_per_prompt > self.best_of:
            raise RequestRefused("best_of must not be less than n", param="best_of")
