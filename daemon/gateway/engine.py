"""What a gateway needs of an inference server with LoRA adapters: load, unload, list, forward."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

import httpx

from daemon.openai_api.model_list import ModelNames
from edits.errors import PermanentError, TemporaryError


class EngineAway(TemporaryError):
    """The engine does not answer at this moment."""


class AdapterRefused(PermanentError):
    """The engine will not load this adapter; the message is its own."""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One HTTP request as it goes to the engine.

    Attributes:
        target: path and query as the client sent them, in bytes.
        headers: raw, in order; without those that concern one connection alone.
    """

    method: str
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Engine(Protocol):
    """An inference server; safe to use by many tasks of one event loop."""

    async def load(self, name: str, folder: PurePath) -> None:
        """Load the PEFT adapter of a folder under a name; one that is loaded already is a success.

        Raises:
            AdapterRefused: the engine cannot use it.
            EngineAway: the engine does not answer.
        """

    async def unload(self, name: str) -> None:
        """Forget an adapter; one that is not loaded is a success.

        Raises:
            EngineAway: the engine does not answer.
        """

    async def models(self) -> ModelNames:
        """What the engine serves.

        Raises:
            EngineAway: the engine does not answer, or not as expected.
        """

    async def forward(self, request: EngineRequest) -> httpx.Response:
        """The engine's response as soon as its head is there; whoever asked closes it.

        Raises:
            EngineAway: the engine does not answer, or not in time.
        """
