"""The model executor of a serving process: one thread owns the model and gives all running answers one token a step.

Between steps new requests join, finished and abandoned ones leave, and a newer generation is taken over: that waits for
nobody, and no answer mixes generations, for each goes on with the expert that it began with.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from daemon.serving.active_request import ActiveRequest, News, RunningSequence, tell
from editors.inference.requests import SequenceRequest
from editors.routing.trace import RouteTrace
from edits.errors import BadRequest, PermanentError, TemporaryError, UpkeepError
from edits.prompts import Prompt
from monitoring.checks.regression import Answered

MAX_WAITING = 64  # requests that have not begun, before the next is refused with Retry-After
STARTED_TOGETHER = 64  # prompts whose routes are decided in one go

_log = structlog.get_logger()
_T = TypeVar("_T")


class StepwiseBatch(Protocol):
    """Answers that are generated together, a token a step; see `editors.inference.continuous.ContinuousBatch`.

    What is started and removed is what `prepare` made.
    """

    @property
    def rows(self) -> int: ...
    @property
    def has_room(self) -> bool: ...
    def prepare(self, requests: Sequence[SequenceRequest]) -> Sequence[RunningSequence]:
        """The sequences of some requests, their routes decided."""

    def start(self, sequences: Sequence[Any]) -> None:
        """Let sequences join the batch."""

    def step(self) -> Sequence[RunningSequence]:
        """One more token for each; all that advanced, the finished among them."""

    def remove(self, sequences: Sequence[Any]) -> None:
        """Let sequences go before their end."""

    def clear(self) -> None:
        """Let all rows go."""


class ServableModel(Protocol):
    """A model that can be asked, and can be brought to the newest published generation."""

    @property
    def generation(self) -> int: ...
    @property
    def batch(self) -> StepwiseBatch: ...
    @property
    def unserved(self) -> Collection[str]:
        """Published edits that cannot answer."""

    def news(self) -> Any | None:
        """What was published since, in the model's own terms; None: nothing. Any thread may ask, and wait for it."""

    def take_over(self, news: Any) -> None:
        """Answer with it from now on."""

    def explain(self, prompt: Prompt) -> RouteTrace:
        """Why an edit fires on a prompt, or none does."""

    def at(self, generation: int) -> AbstractContextManager[None]:
        """While the block runs, the model answers as that generation did."""

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Answered]: ...
    def generate_base(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Answered]:
        """The frozen base's answers, whatever was edited."""


@dataclass(frozen=True, slots=True)
class AnsweredAt:
    """The base's answer and an earlier generation's, with the edit that fired and how that was decided."""

    base: str
    edited: str
    edit_id: str | None
    trace: RouteTrace


class ModelExecutor:
    """Runs the model on the one thread that owns it; a full queue refuses more."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._model: ServableModel | None = None
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waiting: deque[ActiveRequest] = deque()  # the thread's own, as is what follows
        self._active: list[ActiveRequest] = []
        self._closing = False
        self._unstarted = 0
        self._counter = threading.Lock()
        # A daemon, for a model that is still being loaded when the process is told to end.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def generation(self) -> int:
        """The generation that answers now; TemporaryError until the model is loaded."""
        return self._loaded().generation

    @property
    def unserved(self) -> int:
        """How many published edits cannot answer, as their shard is damaged."""
        return 0 if self._model is None else len(self._model.unserved)

    @property
    def waiting(self) -> int:
        """How many requests have not begun."""
        return self._unstarted

    @property
    def rows(self) -> int:
        """How many answers are generated at this moment."""
        return 0 if self._model is None else self._model.batch.rows

    def load(self, open_model: Callable[[], ServableModel]) -> None:
        """Load the model on its thread and wait for it; its errors are raised here."""
        self._model = self._call(open_model)

    def refresh(self) -> bool:
        """Take over a newer generation before the next step; True if there was one.

        The ledger is asked in the caller's thread: answers do not wait for it. One thread at a time may call this.
        """
        model = self._loaded()
        news = model.news()
        if news is None:
            return False
        self._call(lambda: model.take_over(news))
        return True

    async def submit(self, requests: Sequence[SequenceRequest], *, streamed: bool = False) -> ActiveRequest:
        """Let requests of one client join the batch, all under one generation, and wait until they have begun.

        Raises:
            TemporaryError: the model is not loaded yet, or too many requests are waiting.
            BadRequest: a prompt cannot be answered.
        """
        self._loaded()
        with self._counter:
            if self._unstarted >= self._max_waiting:
                raise TemporaryError(
                    f"{self._max_waiting} requests are waiting already", retry_after_seconds=2.0
                )
            self._unstarted += 1
        active = ActiveRequest(requests, streamed=streamed, abandon=self._abandon)
        self._inbox.put(lambda: self._waiting.append(active))
        try:
            await active.prefilled()
        except BaseException:  # cancelled, too: nobody waits for it any more
            active.abandon()
            raise
        return active

    async def explain(self, prompt: Prompt) -> tuple[int, RouteTrace]:
        """The generation that answers, and how it routes a prompt; between two steps.

        Raises:
            TemporaryError: the model is not loaded yet, or too many requests are waiting.
        """
        model = self._loaded()
        return await self._between_steps(lambda: (model.generation, model.explain(prompt)))

    async def ask_at(self, generation: int, prompt: Prompt, *, max_new_tokens: int) -> AnsweredAt:
        """What an earlier generation answers, and why; all other answers wait meanwhile.

        Raises:
            TemporaryError: the model is not loaded yet, or too many requests are waiting.
            NotInLedger: that generation was never published.
            BadRequest: the prompt cannot be answered.
        """
        model = self._loaded()

        def ask() -> AnsweredAt:
            [base] = model.generate_base([prompt], max_new_tokens=max_new_tokens)
            with model.at(generation):
                [edited] = model.generate([prompt], max_new_tokens=max_new_tokens)
                return AnsweredAt(base.text, edited.text, edited.edit_id, model.explain(prompt))

        return await self._between_steps(ask)

    async def _between_steps(self, work: Callable[[], _T]) -> _T:
        """Have the thread do something that clients ask for; it counts among the requests that wait."""
        with self._counter:
            if self._unstarted >= self._max_waiting:
                raise TemporaryError(
                    f"{self._max_waiting} requests are waiting already", retry_after_seconds=2.0
                )
            self._unstarted += 1
        done: Future[_T] = Future()
        self._inbox.put(lambda: self._fulfil(done, work))
        try:
            return await asyncio.wrap_future(done)
        finally:
            self._no_longer_waiting(1)

    def close(self) -> None:
        """Let the step in hand end, and everything else go."""
        self._inbox.put(self._close)
        self._thread.join()

    def _loaded(self) -> ServableModel:
        if self._model is None:
            raise TemporaryError("the model is still being loaded", retry_after_seconds=5.0)
        return self._model

    def _call(self, work: Callable[[], _T]) -> _T:
        """Have the thread do something between steps, and wait for what comes of it."""
        done: Future[_T] = Future()
        self._inbox.put(lambda: self._fulfil(done, work))
        return done.result()

    @staticmethod
    def _fulfil(done: "Future[_T]", work: Callable[[], _T]) -> None:
        if not done.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    def _abandon(self, active: ActiveRequest) -> None:
        self._inbox.put(lambda: self._drop(active))

    # What follows runs on the model's thread.

    def _run(self) -> None:
        while not self._closing:
            self._read_inbox(wait=not self._active and not self._waiting)
            if self._closing:
                break
            if self._waiting:
                self._start_waiting(self._loaded().batch)
            if self._active:
                self._step(self._loaded().batch)
        gone = TemporaryError("the server is shutting down")
        self._fail([*self._waiting, *self._active], gone)

    def _read_inbox(self, *, wait: bool) -> None:
        try:
            while True:
                self._inbox.get(block=wait)()
                wait = False
        except queue.Empty:
            pass

    def _close(self) -> None:
        self._closing = True

    def _start_waiting(self, batch: StepwiseBatch) -> None:
        """Begin, in order, as many requests as there is room for; their routes are decided together."""
        while self._waiting and batch.has_room:
            taken: list[ActiveRequest] = []
            together: list[ActiveRequest] = []
            while self._waiting and sum(len(one.sequences) for one in together) < STARTED_TOGETHER:
                active = self._waiting.popleft()
                taken.append(active)
                if not active.abandoned and self._prepare(active, batch):
                    together.append(active)
            self._start(together, batch)
            self._no_longer_waiting(len(taken))

    def _prepare(self, active: ActiveRequest, batch: StepwiseBatch) -> bool:
        try:
            active.sequences = list(batch.prepare(active.requests))
        except Exception as error:
            self._fail([active], _known(error))
            return False
        return True

    def _start(self, together: Sequence[ActiveRequest], batch: StepwiseBatch) -> None:
        try:
            batch.start([sequence for active in together for sequence in active.sequences])
        except Exception as error:
            if len(together) > 1 and isinstance(error, BadRequest):
                for active in together:  # the others are none the worse for it
                    self._start([active], batch)
            else:
                self._fail(together, _known(error))
            return
        generation = self._loaded().generation
        self._active += together
        tell([(active, active.begin(generation)) for active in together])

    def _step(self, batch: StepwiseBatch) -> None:
        try:
            advanced = {id(sequence) for sequence in batch.step()}
            tell([(active, news) for active in self._active if (news := active.news(advanced)) is not None])
        except Exception as error:
            self._start_over(batch, error)
        self._active = [active for active in self._active if not active.finished]

    def _drop(self, active: ActiveRequest) -> None:
        if active in self._active:
            self._active.remove(active)
            try:
                self._loaded().batch.remove(active.sequences)
            except Exception as error:
                self._start_over(self._loaded().batch, error)
        elif active in self._waiting:
            self._waiting.remove(active)
            self._no_longer_waiting(1)

    def _start_over(self, batch: StepwiseBatch, error: Exception) -> None:
        """After an error in the middle of a step nobody knows what state the rows are in: all of them fail."""
        failed, self._active = self._active, []
        batch.clear()
        self._fail(failed, _known(error))

    def _fail(self, requests: Sequence[ActiveRequest], error: UpkeepError) -> None:
        tell([(active, News(error=error)) for active in requests])

    def _no_longer_waiting(self, count: int) -> None:
        with self._counter:
            self._unstarted -= count


def _known(error: Exception) -> UpkeepError:
    """The error as a client may be told of it; one that nobody knows goes to the log."""
    if isinstance(error, UpkeepError):
        return error
    _log.error("the model failed", exc_info=error)
    return PermanentError("the model failed at this request; the server's log says why")
