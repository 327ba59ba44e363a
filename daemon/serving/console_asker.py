"""The console's Ask page, answered by the model of this very process."""

import asyncio

from daemon.console.sources.asking import Asked
from daemon.openai_api.trace import trace_response
from daemon.serving.model_executor import ModelExecutor
from editors.inference.requests import SamplingParams, SequenceRequest
from edits.prompts import Prompt


class ExecutorAsker:
    """Asks the model executor; called on the console's own threads, never on the event loop."""

    earlier = True

    def __init__(self, executor: ModelExecutor, *, max_new_tokens: int) -> None:
        self._executor = executor
        self._max_new_tokens = max_new_tokens

    def ask(self, prompt: Prompt, *, generation: int | None) -> Asked:
        """See `daemon.console.sources.asking.Asker`."""
        if generation is None or generation == self._executor.generation:
            return asyncio.run(self._ask_newest(prompt))
        return asyncio.run(self._ask_at(generation, prompt))

    async def _ask_newest(self, prompt: Prompt) -> Asked:
        """Among everybody else's requests."""
        params = SamplingParams(self._max_new_tokens)
        requests = [SequenceRequest(prompt, params, base=base, stripped=True) for base in (True, False)]
        active = await self._executor.submit(requests)
        try:
            base, edited = await active.results()
        finally:
            active.abandon()
        traced = trace_response(*await self._executor.explain(prompt))
        return Asked(
            active.start.generation, base.text, edited.text, edited.edit_id, traced.model_dump(mode="json")
        )

    async def _ask_at(self, generation: int, prompt: Prompt) -> Asked:
        found = await self._executor.ask_at(generation, prompt, max_new_tokens=self._max_new_tokens)
        traced = trace_response(generation, found.trace)
        return Asked(generation, found.base, found.edited, found.edit_id, traced.model_dump(mode="json"))
