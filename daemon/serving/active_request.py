"""A request while the model works on it: the event loop waits for it here, the model's thread tells it what is new."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from editors.inference.requests import FinishReason, SequenceRequest, SequenceResult, TextDelta
from edits.errors import UpkeepError


class RunningSequence(Protocol):
    """One answer while it is generated; see `editors.inference.continuous.GeneratedSequence`."""

    @property
    def finish_reason(self) -> FinishReason | None: ...
    @property
    def edit_id(self) -> str | None: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def result(self) -> SequenceResult: ...
    def delta(self) -> TextDelta | None:
        """What came since the last delta; None: nothing that can be sent yet."""


@dataclass(frozen=True, slots=True)
class PrefillState:
    """Of which generation a request's answers are, which edits fired, and how many tokens each prompt has."""

    generation: int
    edit_ids: tuple[str | None, ...]
    prompt_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class News:
    """What the model's thread tells a request: that it has begun, more text by answer, the results, or an error."""

    prefill_state: PrefillState | None = None
    deltas: tuple[tuple[int, TextDelta], ...] = ()
    results: tuple[SequenceResult, ...] | None = None
    error: UpkeepError | None = None


class ActiveRequest:
    """The answers that one client waits for.

    Made on the event loop; `sequences`, `begin`, `news` and `finished` are the model thread's.
    """

    def __init__(
        self,
        requests: Sequence[SequenceRequest],
        *,
        streamed: bool,
        abandon: Callable[["ActiveRequest"], None],
    ) -> None:
        self.requests = tuple(requests)
        self.abandoned = False
        self.sequences: list[RunningSequence] = []
        self.loop = asyncio.get_running_loop()
        self._streamed = streamed
        self._abandon = abandon
        self._over = False
        self._news: asyncio.Queue[News] = asyncio.Queue()
        self._prefill_state: PrefillState | None = None

    @property
    def start(self) -> PrefillState:
        """What was decided when it began."""
        if self._prefill_state is None:
            raise RuntimeError("the request has not begun")
        return self._prefill_state

    async def prefilled(self) -> None:
        """Wait until the routes are decided.

        Raises:
            UpkeepError: the request cannot be answered.
        """
        self._prefill_state = (await self._next()).prefill_state

    async def results(self) -> tuple[SequenceResult, ...]:
        """Wait for all answers; whoever stops waiting abandons them.

        Raises:
            UpkeepError: the model failed.
        """
        try:
            while (results := (await self._next()).results) is None:
                pass
            return results
        finally:
            self.abandon()

    async def deltas(self) -> AsyncIterator[tuple[int, TextDelta]]:
        """The answers' texts as they grow, each with its place; whoever stops reading abandons them.

        Raises:
            UpkeepError: the model failed.
        """
        try:
            while True:
                news = await self._next()
                for delta in news.deltas:
                    yield delta
                if news.results is not None:
                    return
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Nobody waits for the answers any more: their rows leave the batch before its next step."""
        if not self.abandoned and not self._over:
            self.abandoned = True
            self._abandon(self)

    def receive(self, news: News) -> None:
        """Called on the event loop."""
        self._over = self._over or news.results is not None or news.error is not None
        self._news.put_nowait(news)

    async def _next(self) -> News:
        news = await self._news.get()
        if news.error is not None:
            raise news.error
        return news

    @property
    def finished(self) -> bool:
        """Whether every answer is."""
        return all(sequence.finish_reason is not None for sequence in self.sequences)

    def begin(self, generation: int) -> News:
        """That it has begun."""
        edit_ids = tuple(sequence.edit_id for sequence in self.sequences)
        prompt_tokens = tuple(sequence.prompt_tokens for sequence in self.sequences)
        return News(prefill_state=PrefillState(generation, edit_ids, prompt_tokens))

    def news(self, advanced: Collection[int]) -> News | None:
        """What a step brought, in which the sequences with these ids advanced; None: nothing to tell."""
        deltas: list[tuple[int, TextDelta]] = []
        if self._streamed:
            for place, sequence in enumerate(self.sequences):
                if id(sequence) in advanced and (delta := sequence.delta()) is not None:
                    deltas.append((place, delta))
        results = tuple(sequence.result for sequence in self.sequences) if self.finished else None
        return News(deltas=tuple(deltas), results=results) if deltas or results is not None else None


def tell(reported: Sequence[tuple[ActiveRequest, News]]) -> None:
    """Hand news over to the event loops, each woken up once; one that is closed has no one left to tell."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[ActiveRequest, News]]] = {}
    for active, news in reported:
        by_loop.setdefault(active.loop, []).append((active, news))
    for loop, of_loop in by_loop.items():
        try:
            loop.call_soon_threadsafe(_receive_all, of_loop)
        except RuntimeError:  # closed
            for active, _ in of_loop:
                active.abandon()


def _receive_all(reported: Sequence[tuple[ActiveRequest, News]]) -> None:
    for active, news in reported:
        active.receive(news)
