"""The model executor of a serving process: runs requests on its one model, one at a time, in order.

One thread owns the model. It takes over a new generation between requests: no answer mixes generations.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from edits.errors import TemporaryError
from edits.prompts import Prompt

MAX_WAITING = 64  # requests in the queue before the next is refused with Retry-After

_T = TypeVar("_T")


class ModelOutput(Protocol):
    """The output for one prompt, the edit that fired (None: the base answered), and whether it was truncated."""

    @property
    def prompt(self) -> Prompt: ...
    @property
    def text(self) -> str: ...
    @property
    def edit_id(self) -> str | None: ...
    @property
    def score(self) -> float | None: ...
    @property
    def truncated(self) -> bool: ...
    @property
    def prompt_tokens(self) -> int:
        """How many tokens the model read."""

    @property
    def new_tokens(self) -> int:
        """How many it generated, with the one that ended the answer."""


class ServableModel(Protocol):
    """A model that can be asked, and can be brought to the newest published generation."""

    @property
    def generation(self) -> int: ...
    def refresh(self) -> bool: ...
    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[ModelOutput]: ...
    def generate_base(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[ModelOutput]: ...


class ModelExecutor:
    """Runs work on the model one at a time, on the one thread that owns it; a full queue refuses more."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._model: ServableModel | None = None
        self._waiting = 0
        self._counter = threading.Lock()

    @property
    def generation(self) -> int:
        """The generation that answers now; TemporaryError until the model is loaded."""
        return self._loaded().generation

    def load(self, open_model: Callable[[], ServableModel]) -> None:
        """Load the model on its thread and wait for it; its errors are raised here."""
        self._model = self._thread.submit(open_model).result()

    def refresh(self) -> bool:
        """Take over a newer generation, after the requests that wait already; True if there was one."""
        model = self._loaded()
        return self._thread.submit(model.refresh).result()

    async def run(self, work: Callable[[ServableModel], _T]) -> _T:
        """Run `work` with the model, after all work that came before it.

        Raises:
            TemporaryError: the model is not loaded yet, or too many requests are waiting.
        """
        model = self._loaded()
        with self._counter:
            if self._waiting >= MAX_WAITING:
                raise TemporaryError(f"{MAX_WAITING} requests are waiting already", retry_after_seconds=2.0)
            self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(work, model))
        finally:
            with self._counter:
                self._waiting -= 1

    def close(self) -> None:
        """Finish the request in hand, drop those that wait."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _loaded(self) -> ServableModel:
        if self._model is None:
            raise TemporaryError("the model is still being loaded", retry_after_seconds=5.0)
        return self._model
