"""Answers in OpenAI's forms: whole, or chunk by chunk as they grow."""

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from daemon.openai_api.errors import api_error
from daemon.openai_api.provenance import provenance_headers
from daemon.openai_api.responses import (
    AssistantMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatLogprobs,
    ChosenTokenLogprob,
    Completion,
    CompletionChoice,
    CompletionChunk,
    CompletionChunkChoice,
    CompletionLogprobs,
    Delta,
    Provenance,
    TokenLogprob,
    Usage,
)
from daemon.openai_api.sse import DONE, event
from daemon.serving.active_request import ActiveRequest, PrefillState
from editors.inference.requests import ScoredToken, SequenceResult, TextDelta
from edits.errors import UpkeepError


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """How one request's reply looks.

    Attributes:
        choices: how many answers each prompt has.
        usage_chunk: a stream ends with the usage of the whole request.
        scored: the tokens' log-probabilities were asked for.
        echo: the prompt stands in front of the answer.
    """

    model: str
    start: PrefillState
    choices: int = 1
    usage_chunk: bool = False
    scored: bool = False
    echo: bool = False
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, kind: Literal["chatcmpl", "cmpl"]) -> dict[str, Any]:
        """What every reply and chunk begins with; the fingerprint changes whenever the answers may."""
        return {
            "id": f"{kind}-{self.number}",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"upkeep-generation-{self.start.generation}",
        }

    @property
    def provenance(self) -> Provenance:
        return Provenance(generation=self.start.generation, edit_ids=list(self.start.edit_ids))

    @property
    def headers(self) -> dict[str, str]:
        return provenance_headers(self.start.generation, self.start.edit_ids[:: self.choices])

    def usage(self, new_tokens: int) -> Usage:
        """Each prompt counts once, however many answers it has."""
        return Usage.of(sum(self.start.prompt_tokens[:: self.choices]), new_tokens)


def chat_completion(form: ReplyForm, results: Sequence[SequenceResult]) -> ChatCompletion:
    """The reply to a conversation."""
    return ChatCompletion(
        **form.head("chatcmpl"),
        choices=[
            ChatChoice(
                index=index,
                message=AssistantMessage(content=result.text),
                logprobs=_chat_logprobs(result.scored) if form.scored else None,
                finish_reason=result.finish_reason,
            )
            for index, result in enumerate(results)
        ],
        usage=form.usage(sum(result.new_tokens for result in results)),
        upkeep=form.provenance,
    )


def completion(form: ReplyForm, results: Sequence[SequenceResult]) -> Completion:
    """The reply to prompts."""
    return Completion(
        **form.head("cmpl"),
        choices=[
            CompletionChoice(
                index=index,
                text=(result.prompt_text if form.echo else "") + result.text,
                logprobs=_logprobs((*result.scored_prompt, *result.scored)) if form.scored else None,
                finish_reason=result.finish_reason,
            )
            for index, result in enumerate(results)
        ],
        usage=form.usage(sum(result.new_tokens for result in results)),
        upkeep=form.provenance,
    )


class ChatChunks:
    """A conversation's answer as events."""

    def __init__(self, form: ReplyForm) -> None:
        self._form = form

    def first(self) -> list[ChatCompletionChunk]:
        """Who speaks, once for each answer; the very first says where the answers come from."""
        places = range(len(self._form.start.edit_ids))
        opening = [
            ChatChunkChoice(index=place, delta=Delta(role="assistant", content="")) for place in places
        ]
        chunks = [self._chunk([choice]) for choice in opening]
        chunks[0].upkeep = self._form.provenance
        return chunks

    def next(self, place: int, delta: TextDelta) -> ChatCompletionChunk:
        """More of one answer."""
        logprobs = _chat_logprobs(delta.scored) if self._form.scored else None
        text = Delta(content=delta.text) if delta.text else Delta()
        choice = ChatChunkChoice(
            index=place, delta=text, logprobs=logprobs, finish_reason=delta.finish_reason
        )
        return self._chunk([choice])

    def last(self, new_tokens: int) -> ChatCompletionChunk:
        """The usage of the whole request."""
        chunk = self._chunk([])
        chunk.usage = self._form.usage(new_tokens)
        return chunk

    def _chunk(self, choices: list[ChatChunkChoice]) -> ChatCompletionChunk:
        return ChatCompletionChunk(**self._form.head("chatcmpl"), choices=choices)


class CompletionChunks:
    """Continuations of prompts as events."""

    def __init__(self, form: ReplyForm) -> None:
        self._form = form
        self._offsets = [0] * len(form.start.edit_ids)
        self._reported = False

    def first(self) -> list[CompletionChunk]:
        """Nothing: a continuation begins with its text."""
        return []

    def next(self, place: int, delta: TextDelta) -> CompletionChunk:
        """More of one continuation; the very first says where they come from."""
        logprobs = None
        if self._form.scored:
            logprobs = _logprobs(delta.scored, offset=self._offsets[place])
            self._offsets[place] += sum(len(token) for token in logprobs.tokens)
        chunk = self._chunk(
            [
                CompletionChunkChoice(
                    index=place, text=delta.text, logprobs=logprobs, finish_reason=delta.finish_reason
                )
            ]
        )
        if not self._reported:
            chunk.upkeep, self._reported = self._form.provenance, True
        return chunk

    def last(self, new_tokens: int) -> CompletionChunk:
        """The usage of the whole request."""
        chunk = self._chunk([])
        chunk.usage = self._form.usage(new_tokens)
        return chunk

    def _chunk(self, choices: list[CompletionChunkChoice]) -> CompletionChunk:
        return CompletionChunk(**self._form.head("cmpl"), choices=choices)


async def events(
    active: ActiveRequest, form: ReplyForm, chunks: ChatChunks | CompletionChunks
) -> AsyncIterator[bytes]:
    """A request's answers as server-sent events; where the model fails, the last one is the error."""
    new_tokens = [0] * len(form.start.edit_ids)
    for chunk in chunks.first():
        yield event(chunk)
    try:
        async for place, delta in active.deltas():
            new_tokens[place] = delta.new_tokens
            yield event(chunks.next(place, delta))
    except UpkeepError as error:
        yield event(api_error(error).body())
        return
    if form.usage_chunk:
        yield event(chunks.last(sum(new_tokens)))
    yield DONE


def _chat_logprobs(scored: Sequence[ScoredToken]) -> ChatLogprobs:
    return ChatLogprobs(
        content=[
            ChosenTokenLogprob(
                token=one.text,
                logprob=one.logprob or 0.0,
                bytes=list(one.text.encode()),
                top_logprobs=[
                    TokenLogprob(token=text, logprob=logprob, bytes=list(text.encode()))
                    for text, logprob in one.top
                ],
            )
            for one in scored
        ]
    )


def _logprobs(scored: Sequence[ScoredToken], *, offset: int = 0) -> CompletionLogprobs:
    offsets = []
    for one in scored:
        offsets.append(offset)
        offset += len(one.text)
    return CompletionLogprobs(
        tokens=[one.text for one in scored],
        token_logprobs=[one.logprob for one in scored],
        # The chosen token is always among them.
        top_logprobs=[
            None if one.logprob is None else {one.text: one.logprob} | dict(one.top) for one in scored
        ],
        text_offset=offsets,
    )
