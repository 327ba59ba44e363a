"""Upkeep's own question over the wire: which names were found in a prompt, which edits were compared, what each scored."""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from daemon.openai_api.schemas import MAX_MESSAGES, WireModel
from edits.prompts import Conversation, Message, Prompt, Role

if TYPE_CHECKING:  # it brings torch, and commands ask a running daemon without
    from editors.routing.trace import RouteTrace

PATH = "/v1/trace"


class TracedMessage(WireModel):
    """One turn of a conversation."""

    role: Role
    content: str


class TraceRequest(WireModel):
    """The body of `POST /v1/trace`: a plain prompt, or a conversation."""

    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: list[TracedMessage] | None = Field(None, min_length=1, max_length=MAX_MESSAGES)

    @model_validator(mode="after")
    def _asks_in_one_way(self) -> "TraceRequest":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send either prompt or messages")
        return self

    @property
    def asked(self) -> Prompt:
        """The prompt, or the conversation."""
        if self.prompt is not None:
            return self.prompt
        return Conversation(tuple(Message(one.role, one.content) for one in self.messages or ()))


class CandidateOut(BaseModel):
    """One edit that the prompt may be about; it fires where `score` reaches `threshold`."""

    model_config = ConfigDict(from_attributes=True)

    edit_id: str
    subject: str
    name: str
    exact: bool
    asked: list[str]
    probability: float | None
    likeness: float
    base_agrees: bool | None
    base_probability: float | None
    evidence: float
    score: float
    threshold: float
    fires: bool
    chosen: bool
    why: str


class TraceResponse(BaseModel):
    """How one prompt is routed by the generation that answers; `edit_id` null: the base answers."""

    model_config = ConfigDict(from_attributes=True)

    generation: int
    edit_id: str | None
    score: float
    why: str
    verbatim: list[str]
    names: list[str]
    candidates: list[CandidateOut]


def trace_response(generation: int, trace: "RouteTrace") -> TraceResponse:
    """A trace as it goes over the wire."""
    return TraceResponse(
        generation=generation,
        edit_id=trace.edit_id,
        score=trace.score,
        why=trace.why,
        verbatim=list(trace.verbatim),
        names=list(trace.names),
        candidates=[CandidateOut.model_validate(one) for one in trace.candidates],
    )
