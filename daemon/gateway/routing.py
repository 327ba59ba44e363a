"""Which adapter each prompt of a request needs: decided in one thread, for all prompts by one generation."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from daemon.gateway.edits import AdapterRef, GatewayEdits
from daemon.gateway.sweeping import adapter_names, remove_untouched, touch
from daemon.ledger import Ledger
from editors.inference.export import ExportTarget, export_adapter
from editors.routing.trace import RouteTrace
from edits.errors import PermanentError, TemporaryError
from edits.prompts import Conversation, Prompt
from monitoring.metrics.process_metrics import Metrics

NAMES_AT_ONCE = 1_000

_T = TypeVar("_T")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Decision:
    """What one generation says of a request's prompts; None: the base."""

    refs: tuple[AdapterRef | None, ...]
    generation: int
    stale: bool


class RequestRouter:
    """Owns the index: what reads or changes it runs in its one thread, so that no decision mixes generations."""

    def __init__(
        self,
        edits: GatewayEdits,
        ledger: Ledger,
        *,
        target: ExportTarget,
        folder: Path,
        conversation: Callable[[Prompt], Conversation | None],
        metrics: Metrics,
    ) -> None:
        """
        Args:
            folder: of the adapters.
            conversation: the conversation that a text is which a client rendered with the base's chat template.
        """
        self._edits = edits
        self._ledger = ledger
        self._target = target
        self._folder = folder
        self._conversation = conversation
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._disk = ThreadPoolExecutor(2, thread_name_prefix="adapters")
        self._generation = 0
        self._stale = False

    @property
    def generation(self) -> int:
        """The generation that decides now."""
        return self._generation

    @property
    def stale(self) -> bool:
        """Whether the ledger cannot be followed at this moment."""
        return self._stale

    def close(self) -> None:
        """End the threads; decisions in hand are finished."""
        self._thread.shutdown()
        self._disk.shutdown()

    async def decide(self, prompts: Sequence[Prompt | None]) -> Decision:
        """The adapters of a request's prompts; what cannot be read goes to the base."""
        begun = time.perf_counter()
        try:
            return await self._in_thread(lambda: self._decide(prompts))
        finally:
            self._metrics.gateway_routing.observe(time.perf_counter() - begun)

    async def explain(self, prompt: Prompt) -> tuple[int, RouteTrace]:
        """The generation that decides, and why it routes a prompt as it does."""

        def work() -> tuple[int, RouteTrace]:
            return self._generation, self._edits.explain(self._conversation(prompt) or prompt)

        return await self._in_thread(work)

    async def materialise(self, ref: AdapterRef) -> bool:
        """Write an adapter's folder, where it is not there yet; False: it was, and is kept from being swept for a while.

        Raises:
            PermanentError: it cannot be made.
        """
        if (self._folder / ref.name).is_dir():
            touch(self._folder, [ref.name])
            return False
        shard, form = await self._in_thread(lambda: (self._edits.shard(ref), self._edits.form(ref)))
        await asyncio.get_running_loop().run_in_executor(
            self._disk,
            lambda: export_adapter(
                shard, ref.edit_id, target=self._target, folder=self._folder / ref.name, form=form
            ),
        )
        return True

    async def sweep(self, in_use: Collection[str], *, for_seconds: float) -> int:
        """Remove the folders of adapters that no live edit needs, none of them `in_use` or touched within so long."""
        loop = asyncio.get_running_loop()
        names = await loop.run_in_executor(self._disk, lambda: adapter_names(self._folder))
        unneeded: list[str] = []
        for start in range(0, len(names), NAMES_AT_ONCE):  # requests are routed in between
            part = names[start : start + NAMES_AT_ONCE]
            live = await self._in_thread(partial(self._edits.live_adapters, part))
            unneeded += [name for name in part if name not in live and name not in in_use]
        return await loop.run_in_executor(
            self._disk, lambda: remove_untouched(self._folder, unneeded, for_seconds=for_seconds)
        )

    async def adopt_forms(self) -> None:
        """Serve the edits whose LoRA forms workers have made since."""
        try:
            served = await self._in_thread(self._edits.adopt_forms)
        except (PermanentError, TemporaryError) as error:
            _log.warning("lora_form_not_read", reason=str(error))
            return
        self._metrics.gateway_unserved.set(len(self._edits.unserved))
        if served:
            _log.info("edits_served_by_lora_forms", edits=len(served))

    async def touch(self, names: Collection[str]) -> None:
        """Say to other gateways that these adapters are needed here."""
        await asyncio.get_running_loop().run_in_executor(self._disk, lambda: touch(self._folder, names))

    def follow(self) -> list[AdapterRef] | None:
        """Take over what was published since: the adapters of what is new; None where nothing was. For another thread.

        Raises:
            ShardCorrupt: a published shard is missing or damaged; the generation held so far goes on deciding.
            LedgerUnavailable: the ledger is away for now.
        """
        tip = self._ledger.generations.tip()
        if tip is None or tip[0] == self._generation:
            return None
        enabled, disabled = self._ledger.generations.changes_between(self._generation, tip[0])

        def apply() -> list[AdapterRef]:
            self._edits.apply(enabled=enabled, disabled=disabled)
            self._generation = tip[0]
            return [self._edits.ref(one) for one in enabled if one not in self._edits.unserved]

        refs = self._thread.submit(apply).result()
        self._metrics.gateway_unserved.set(len(self._edits.unserved))
        for edit_id in enabled.keys() & self._edits.unserved.keys():
            _log.warning("edit_not_served", edit=edit_id, reason=self._edits.unserved[edit_id])
        return refs

    def set_stale(self, stale: bool) -> None:
        """Say whether the ledger is being followed."""
        self._stale = stale
        self._metrics.gateway_stale.set(int(stale))

    def _decide(self, prompts: Sequence[Prompt | None]) -> Decision:
        places = [n for n, prompt in enumerate(prompts) if prompt is not None]
        read = [self._conversation(prompt) or prompt for prompt in prompts if prompt is not None]
        refs: list[AdapterRef | None] = [None] * len(prompts)
        for place, ref in zip(places, self._edits.route(read), strict=True):
            refs[place] = ref
        return Decision(tuple(refs), self._generation, self._stale)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
