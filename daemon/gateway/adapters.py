"""Adapters at the engine: loaded when they are needed, once however many ask, and the least used unloaded for room."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import PurePath

import structlog

from daemon.gateway.edits import PREFIX, AdapterRef
from daemon.gateway.engine import AdapterRefused, Engine
from edits.errors import TemporaryError
from monitoring.metrics.process_metrics import Metrics

_log = structlog.get_logger()


class AdapterLoader:
    """Keeps at most `room` adapters at the engine. Belongs to one event loop.

    Promises: while `using` runs, this gateway does not unload the adapter; another gateway may, which the engine's 404
    tells (`reload`).
    """

    def __init__(
        self,
        engine: Engine,
        *,
        materialise: Callable[[AdapterRef], Awaitable[bool]],
        engine_folder: PurePath,
        capacity: int,
        metrics: Metrics,
    ) -> None:
        """
        Args:
            materialise: writes an adapter's folder, where it is not there yet; whether it did.
            engine_folder: where the engine sees the adapters' folders.
        """
        self._engine = engine
        self._materialise = materialise
        self._folder = engine_folder
        self._capacity = capacity
        self._metrics = metrics
        self._loaded: OrderedDict[str, None] = OrderedDict()  # the least recently used first
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._in_use: dict[str, int] = {}

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names that are taken to be loaded, the least recently used first."""
        return tuple(self._loaded)

    @property
    def in_use(self) -> frozenset[str]:
        """The names whose folders must stay: loaded, being loaded, or at work."""
        return frozenset((*self._loaded, *self._loading, *self._in_use))

    @asynccontextmanager
    async def using(self, ref: AdapterRef) -> AsyncIterator[str]:
        """While the block runs, the adapter stays loaded as far as this gateway is concerned; gives its name.

        Raises:
            AdapterRefused, EngineAway, ShardCorrupt, PermanentError: it cannot be loaded.
        """
        name = ref.name
        self._in_use[name] = self._in_use.get(name, 0) + 1
        try:
            await self.ensure(ref)
            yield name
        finally:
            self._in_use[name] -= 1
            if not self._in_use[name]:
                del self._in_use[name]
                # Where all were needed at once the room was exceeded: no further request need come to give it back.
                await self._keep_at_most(self._capacity)

    async def ensure(self, ref: AdapterRef) -> None:
        """Load an adapter, unless it is loaded; those who ask for one at the same time wait for one load."""
        if ref.name in self._loaded:
            self._loaded.move_to_end(ref.name)
            return
        task = self._loading.get(ref.name)
        if task is None:
            task = self._loading[ref.name] = asyncio.create_task(self._load(ref))
            task.add_done_callback(lambda done: self._ended(ref.name, done))
        # A client that goes away must not end the load that others wait for.
        await asyncio.shield(task)

    async def reload(self, ref: AdapterRef) -> None:
        """Load an adapter that the engine says it does not have: it was restarted, or somebody else unloaded it."""
        self._loaded.pop(ref.name, None)
        await self.ensure(ref)

    async def adopt(self) -> None:
        """Take over which of Upkeep's adapters the engine has loaded already, as the least used; others are not touched.

        Raises:
            EngineAway: the engine does not answer.
        """
        found = (await self._engine.models()).adapters - self._loaded.keys()
        for name in sorted(name for name in found if name.startswith(PREFIX)):
            self._loaded[name] = None
            self._loaded.move_to_end(name, last=False)

    def _ended(self, name: str, task: "asyncio.Task[None]") -> None:
        self._loading.pop(name, None)
        failed = not task.cancelled() and task.exception() is not None
        self._metrics.gateway_loads.labels("failed" if failed or task.cancelled() else "loaded").inc()

    async def _load(self, ref: AdapterRef) -> None:
        await self._materialise(ref)
        await self._keep_at_most(self._capacity - 1)
        try:
            await self._engine.load(ref.name, self._folder / ref.name)
        except AdapterRefused:
            # Another gateway may have swept the folder between our look and the engine's.
            if not await self._materialise(ref):
                raise
            await self._engine.load(ref.name, self._folder / ref.name)
        self._loaded[ref.name] = None

    async def _keep_at_most(self, count: int) -> None:
        """Unload the least recently used that no request needs; where all are needed, more stay for a while."""
        while len(self._loaded) > count:
            idle = next((name for name in self._loaded if name not in self._in_use), None)
            if idle is None:
                return
            del self._loaded[idle]
            try:
                await self._engine.unload(idle)
            except TemporaryError as error:
                _log.warning("adapter_not_unloaded", adapter=idle, reason=str(error))
            self._metrics.gateway_evictions.inc()
